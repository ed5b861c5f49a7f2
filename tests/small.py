"""Small things that many tests build on: the embedded configuration, hand-made groups, a tiny policy."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tsallis_run.config import RunConfig, validate
from tsallis_run.types import Answer, Example, Group, Prompt, RationaleEnd, Rollout

CONF = Path(__file__).parent.parent / "conf"


@cache
def run_config(*overrides: str) -> RunConfig:
    """The configuration of `tsallis-run OVERRIDES...`."""
    with initialize_config_dir(str(CONF), version_base=None):
        return validate(OmegaConf.to_container(compose("config", list(overrides)), resolve=True))


def prompt(ids: tuple[int, ...], *golds: tuple[int, ...], id: str = "one") -> Prompt:
    """A prompt of bare ids."""
    return Prompt(Example(id, "", "q", "a"), ids, golds)


def rollout(rationale: tuple[int, ...], bridge: tuple[int, ...] = (), answer: tuple[int, ...] | None = None) -> Rollout:
    """A rollout of bare ids, without the engine's log-probs."""
    sampled = None if answer is None else Answer(answer, (), "", ended=True)
    return Rollout(rationale, (), RationaleEnd.BUDGET, bridge, sampled, 0)


def group(prompt: Prompt, *rollouts: Rollout) -> Group:
    """A group."""
    return Group(prompt, rollouts)
