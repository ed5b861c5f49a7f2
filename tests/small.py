"""Small things that many tests build on: the embedded configuration, hand-made groups, a tiny policy."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

from tsallis_run.config import RunConfig, validate
from tsallis_run.types import Answer, Example, Group, Prompt, RationaleEnd, Rollout

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tsallis_run.policy.zero import Weigh

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


def plain_model() -> PreTrainedModel:
    """The embedded model as transformers runs it, with an attention of its own."""
    from transformers import AutoModelForCausalLM

    from tsallis_run.policy.model_folder import model_folder

    return AutoModelForCausalLM.from_pretrained(model_folder(run_config().model, seed=0))


def given(coefficients: Iterable[Tensor]) -> Weigh:
    """Weighs one micro-batch after another by coefficients that are known ahead."""
    each = iter(coefficients)
    return lambda batch, log_probs: next(each, torch.zeros(batch.num_scored))


def group(prompt: Prompt, *rollouts: Rollout) -> Group:
    """A group."""
    return Group(prompt, rollouts)
