"""A training step of this program, on command: what `against_trl.py` and `growth.py` start as a contender.

python benchmarks/one_step.py PROMPT_TOKENS key=value ...

The prompts are invented word problems of about that length; every rationale runs to its full budget.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from side_by_side import Numbers, answer

from tsallis_run import ranks
from tsallis_run.cli import configuration_folder
from tsallis_run.config import RunConfig, validate
from tsallis_run.parts import Parts, build
from tsallis_run.tracking.display import open_display
from tsallis_run.tracking.records import RunFolder, read_rows
from tsallis_run.train import STATIONS, take_step
from tsallis_run.types import Completion, CompletionRequest

SETTINGS = (
    *("model=smollm2_135m", "dataset=gsm8k", "start=cold", "prompts_per_step=4", "rollouts_per_prompt=8"),
    *("rollout.max_rationale_tokens=64", "rollout.kv_cache_gib=0.25", "num_steps=1000", "evaluation.num_samples=1"),
    *("checkpoint.every_steps=null", "tracker.wandb.mode=disabled", "tracker.rollouts_every_steps=null"),
)
NUMBERS = (*(f"{station}_seconds" for station in STATIONS), "scored_tokens", "trained_tokens", "padding_fraction")
NUM_PROBLEMS = 64
TEXT = "Anna has seven red apples and gives three to Ben who then buys twelve more for his friends"


def problems(num_tokens: int) -> list[dict[str, str]]:
    """Rows in GSM8K's schema; a common English word is about one token, and the template takes some tokens more."""
    num_words = max(8, num_tokens - 12)
    words = TEXT.split()
    questions = [" ".join(islice(cycle(words[i % 7 :] + words[: i % 7]), num_words)) for i in range(NUM_PROBLEMS)]
    return [{"question": f"{text} {i}?", "answer": f"#### {i}"} for i, text in enumerate(questions)]


def run_config(overrides: Sequence[str]) -> RunConfig:
    with initialize_config_dir(str(configuration_folder()), version_base=None):
        return validate(OmegaConf.to_container(compose("config", list(overrides)), resolve=True))


def main(num_tokens: int, overrides: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        data, folder = Path(name, "data"), Path(name, "run")
        data.mkdir()
        folder.mkdir()
        for split in ("train", "test"):
            (data / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in problems(num_tokens)))
        config = run_config([*SETTINGS, f"dataset.path={data}", *overrides])
        ranks.join()
        with open_display("silent", config.total_steps) as display:
            parts, position = build(config, RunFolder(folder), display)
            _sample_to_the_end(parts)

            def step() -> Numbers:
                nonlocal position
                position = take_step(parts, position)
                row = read_rows(parts.folder.metrics)[-1]
                return {key: float(row[key]) for key in NUMBERS}

            answer(step)
        parts.close()


def _sample_to_the_end(parts: Parts) -> None:
    """No token stops a rationale: every contender samples the same number of tokens."""
    complete = parts.engine.complete

    def to_the_end(requests: Sequence[CompletionRequest]) -> list[Completion]:
        return complete([replace(request, stop_ids=()) for request in requests])

    parts.engine.complete = to_the_end  # type: ignore[method-assign]


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
