"""Stops a run half way, goes on, and compares its end with that of the run that was never stopped.

    python benchmarks/resume_equality.py [--folder FOLDER] [KEY=VALUE ...]

For each estimator: at every ZeRO stage to the bit (the record but its seconds, results.json, the best weights, the last
checkpoint's weights and moments), and from each stage to the next one to rounding.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from kill_anywhere import differences
from omegaconf import OmegaConf
from safetensors.torch import load_file

import tsallis_run.train as loop
from tsallis_run.cli import configuration_folder
from tsallis_run.config import RunConfig, validate
from tsallis_run.policy.checkpoint import checkpoints
from tsallis_run.resume import open_run
from tsallis_run.tracking.records import RunFolder
from tsallis_run.types import ExitStatus

SETTINGS = [
    "rollout=transformers",
    "tracker.wandb.mode=disabled",
    "optimizer.schedule=linear",
    "evaluation.num_samples=4",
    "evaluation.every_steps=3",
    "evaluation.bootstrap_resamples=10",
    "dataset.num_digits=2",
    "dataset.num_train=64",
    "dataset.num_validation=8",
    "dataset.num_test=8",
    "num_steps=6",
]
ESTIMATORS: dict[str, tuple[int, list[str]]] = {
    # Turns of the loop, steps and validations, before the stop; more settings.
    "garl": (4, []),
    "paft": (4, []),
    # Rewards come only once some answers are right.
    "grpo": (65, ["start.supervised_steps=60", "optimizer.learning_rate=3e-3", "evaluation.every_steps=33"]),
}
STAGES = (0, 1, 2, 3)


class StopBehind:
    """In place of the stop signals: tells the run to stop when it has asked so often."""

    def __init__(self, num_turns: int) -> None:
        self._left = num_turns

    def agreed(self) -> bool:
        """True from the last turn on."""
        self._left -= 1
        return self._left < 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("outputs/resume-equality"))
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args(arguments)
    shutil.rmtree(given.folder, ignore_errors=True)
    print(f"{'estimator':10}{'stage':>6}{'stopped behind':>16}{'then stage':>12}  the end", flush=True)
    all_equal = True
    for estimator, (num_turns, settings) in ESTIMATORS.items():
        overrides = [*SETTINGS, f"estimator={estimator}", *settings, *given.overrides]
        for stage in STAGES:
            place, own = given.folder / f"{estimator}-{stage}", [*overrides, f"zero=stage{stage}"]
            whole, cut = place / "whole", place / "cut"
            run(whole, own)
            step = run(cut, own, stop_behind=num_turns)
            shutil.copytree(cut, place / "other", symlinks=True)
            run(cut, own)
            different = differences(RunFolder(whole), RunFolder(cut))
            all_equal &= not different
            print(f"{estimator:10}{stage:>6}{step:>16}{stage:>12}  {', '.join(different) or 'equal to the bit'}")
            other = (stage + 1) % len(STAGES)
            run(place / "other", [*overrides, f"zero=stage{other}"])
            distance = largest_difference(whole, place / "other")
            print(f"{'':10}{stage:>6}{step:>16}{other:>12}  weights differ by {distance:.1e} at most", flush=True)
    return int(not all_equal)


def run(path: Path, overrides: list[str], *, stop_behind: int | None = None) -> int:
    """Trains in a folder, from where it stands; returns the step of its newest checkpoint."""
    config = configuration(overrides)
    folder = open_run(path, config)
    loop.StopRequest = lambda: StopBehind(10**9 if stop_behind is None else stop_behind)  # type: ignore
    with contextlib.redirect_stdout(io.StringIO()):
        status = loop.train(config, folder)
    assert status == (ExitStatus.FINISHED if stop_behind is None else ExitStatus.STOPPED), f"{path} ended with {status}"
    return int(checkpoints(folder.checkpoints)[-1].name.removeprefix("step-"))


def configuration(overrides: list[str]) -> RunConfig:
    with initialize_config_dir(str(configuration_folder()), version_base=None):
        return validate(OmegaConf.to_container(compose("config", overrides), resolve=True))


def largest_difference(one: Path, other: Path) -> float:
    """Of any weight behind the last step."""
    ours, theirs = (
        load_file(checkpoints(path / "checkpoints")[-1] / "state-1-of-1.safetensors") for path in (one, other)
    )
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours if name.startswith("weight/"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
