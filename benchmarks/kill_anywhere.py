"""Kills a run with SIGKILL wherever it is, again and again, and compares its end with that of an undisturbed run.

    python benchmarks/kill_anywhere.py [--kills 50] [--rollout transformers|vllm] [--folder FOLDER] [KEY=VALUE ...]

Every restart is the same command with the same output_dir. The phases take turns as targets; the instant within the
phase, and how often the run may come to it before, are drawn. Behind every kill the folder is looked at: is the newest
checkpoint whole, do the best weights open, is every line of the record one? Whenever the run comes to its end, every
number of the record but seconds, the best weights, results.json, and the last checkpoint's weights and moments are
compared with those of the undisturbed run, bit by bit.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from safetensors.torch import load_file

from tsallis_run.policy.best import return_to_best
from tsallis_run.policy.checkpoint import checkpoints, newest_checkpoint
from tsallis_run.tracking.records import MetricsRow, RunFolder, read_results, read_rows
from tsallis_run.types import UserError

COMMAND = [sys.executable, "-c", "from tsallis_run.cli import main; main()"]
SETTINGS = [
    "estimator=garl",
    "num_steps=40",
    "dataset.num_train=64",
    "dataset.num_validation=8",
    "dataset.num_test=8",
    "prompts_per_step=4",
    "rollouts_per_prompt=4",
    "evaluation.num_samples=4",
    "evaluation.every_steps=5",
    "evaluation.bootstrap_resamples=10",
    "checkpoint.every_steps=2",
    "optimizer.schedule=cosine",
    "tracker.wandb.mode=disabled",
]
TARGETS = ("generate", "score", "backward", "save", "evaluate", "sync", "start")
LATEST_VISITS = {"evaluate": 2, "save": 3}
"""Of the phases that do not come up in every step."""
LATEST_VISIT = 8
LONGEST_DELAY_SECONDS = 0.03
POLL_SECONDS = 0.001

TELL_PHASES = """
import os
from tsallis_run.tracking import clock

def phase(self, name, enter=clock.Clock.phase):
    with open(os.environ["KILL_ANYWHERE_PHASES"], "a") as file:
        file.write(name + "\\n")
    return enter(self, name)

clock.Clock.phase = phase
"""
"""sitecustomize.py of the run's processes: they tell the phases as they enter them."""


@dataclass(frozen=True)
class Kill:
    """One of them."""

    phase: str
    """Where it hit; start where the run had not come to a phase yet."""
    step: int
    """Train rows in the record."""
    checkpoint: int | None
    """Step of the newest checkpoint."""
    fault: str
    """What was not whole; "" where all was."""


class Run:
    """A run in a folder of its own, started as often as it takes."""

    def __init__(self, folder: Path, overrides: list[str]) -> None:
        self.folder = RunFolder(folder / "run")
        self._place, self._overrides = folder, overrides
        folder.mkdir(parents=True)
        (folder / "sitecustomize.py").write_text(TELL_PHASES)

    def start(self) -> subprocess.Popen[bytes]:
        """The same command every time."""
        self._phases.write_text("")
        paths = [str(self._place), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "KILL_ANYWHERE_PHASES": str(self._phases),
            "OMP_NUM_THREADS": "1",
        }
        command = [*COMMAND, *self._overrides, f"output_dir={self.folder.path}"]
        with (self._place / "output.txt").open("ab") as output:
            return subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    def phases(self) -> list[str]:
        """What the run has entered since its start, in order."""
        return self._phases.read_text().split()

    @property
    def _phases(self) -> Path:
        return self._place / "phases.txt"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rollout", choices=["transformers", "vllm"], default="transformers")
    parser.add_argument("--folder", type=Path, default=Path("outputs/kill-anywhere"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args(arguments)
    shutil.rmtree(given.folder, ignore_errors=True)
    overrides = [*SETTINGS, f"rollout={given.rollout}", *given.overrides]
    undisturbed, disturbed = (Run(given.folder.resolve() / name, overrides) for name in ("undisturbed", "disturbed"))
    assert undisturbed.start().wait() == 0, f"the undisturbed run failed, see {given.folder}"
    print(f"{'kill':>4}  {'phase':10}{'behind step':>12}{'checkpoint':>12}  whole", flush=True)
    kills: list[Kill] = []
    ends: list[str] = []
    draw = random.Random(given.seed)
    while len(kills) < given.kills:
        kill = kill_once(disturbed, TARGETS[len(kills) % len(TARGETS)], draw)
        if kill is None:
            ends.append(end_of(disturbed, undisturbed))
            shutil.rmtree(disturbed.folder.path)
            continue
        kills.append(kill)
        checkpoint = "-" if kill.checkpoint is None else kill.checkpoint
        print(f"{len(kills):>4}  {kill.phase:10}{kill.step:>12}{checkpoint:>12}  {kill.fault or 'yes'}", flush=True)
    disturbed.start().wait()
    ends.append(end_of(disturbed, undisturbed))
    lost, different = sum(bool(kill.fault) for kill in kills), [end for end in ends if end]
    print(
        f"{len(kills)} kills, {lost} lost; {len(ends)} ends, {len(ends) - len(different)} of them equal to the "
        f"undisturbed one to the bit (record, results, best weights, last checkpoint) {'; '.join(different)}".rstrip()
    )
    return int(bool(lost or different))


def end_of(run: Run, undisturbed: Run) -> str:
    """In what the end of a run differs; "" where in nothing."""
    if not run.folder.is_finished():
        return "not finished"
    return ", ".join(differences(undisturbed.folder, run.folder))


def kill_once(run: Run, target: str, draw: random.Random) -> Kill | None:
    """Starts the run and kills all its processes in the target phase; None where it ended before."""
    process, visits = run.start(), draw.randint(1, LATEST_VISITS.get(target, LATEST_VISIT))
    delay = draw.uniform(0, LONGEST_DELAY_SECONDS)
    if target == "start":
        delay = draw.uniform(0, 10)
    while target != "start" and run.phases().count(target) < visits:
        if process.poll() is not None:
            return None
        time.sleep(POLL_SECONDS)
    time.sleep(delay)
    if process.poll() is not None:
        return None
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:  # the parent first: it would tell of its child's death
        member.send_signal(signal.SIGKILL)
    psutil.wait_procs(family)
    process.wait()
    return look_at(run)


def look_at(run: Run) -> Kill:
    """What lies in the folder of a run that was killed."""
    folder, phases, faults = run.folder, run.phases(), []
    checkpoint = None
    try:
        checkpoint = newest_checkpoint(folder.checkpoints, faults.append)
        if checkpoint is not None and checkpoint.position.best_step is not None:
            return_to_best(folder.best, checkpoint.position.best_step)
        if folder.best.exists():
            load_file(folder.best / "model.safetensors")
        rows = read_rows(folder.metrics) if folder.metrics.exists() else []
    except (UserError, ValueError, OSError) as error:
        faults.append(str(error))
        rows = []
    steps = [int(row["step"]) for row in rows if row["split"] == "train"]
    behind = None if checkpoint is None else checkpoint.position.step
    return Kill(phases[-1] if phases else "start", max(steps, default=0), behind, "; ".join(faults))


def differences(one: RunFolder, other: RunFolder) -> list[str]:
    """In what the ends of two runs are not equal to the bit."""
    pairs = {
        "the record": record(one) == record(other),
        "results.json": read_results(one) == read_results(other),
        "the best weights": same_tensors(*(folder.best / "model.safetensors" for folder in (one, other))),
        "the last checkpoint": same_tensors(
            *(checkpoints(folder.checkpoints)[-1] / "state-1-of-1.safetensors" for folder in (one, other))
        ),
    }
    return [name for name, is_equal in pairs.items() if not is_equal]


def record(folder: RunFolder) -> list[MetricsRow]:
    """The rows without what a clock has measured."""
    timed = ("_seconds", "tokens_per_second")
    return [
        {name: value for name, value in row.items() if not name.endswith(timed)} for row in read_rows(folder.metrics)
    ]


def same_tensors(one: Path, other: Path) -> bool:
    ours, theirs = load_file(one), load_file(other)
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
