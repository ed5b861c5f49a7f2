"""Runs of the command as a cluster has them, for the proofs beside this file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-c", "from tsallis_run.cli import main; main()")
SMALL = ("dataset.num_validation=8", "dataset.num_test=8")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def start(*overrides: str, cwd: Path, within: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Starts `tsallis-run OVERRIDES...` in the folder `cwd`; `within` goes ahead of the command."""
    return subprocess.Popen(
        [*within, *COMMAND, *overrides, *SMALL],
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], *, seconds: float) -> tuple[int, str]:
    """Exit status and output."""
    output, _ = process.communicate(timeout=seconds)
    print(output)  # pytest shows it where a proof fails
    return process.returncode, output


def run(*overrides: str, cwd: Path, seconds: float = 600) -> tuple[int, str]:
    """The command from start to end."""
    return finish(start(*overrides, cwd=cwd), seconds=seconds)


def steps(folder: Path) -> list[int]:
    """The step of each row of the record, as far as it is written."""
    metrics = folder / "metrics.jsonl"
    if not metrics.exists():
        return []
    return [json.loads(line)["step"] for line in metrics.read_text().splitlines(keepends=True) if line.endswith("\n")]


def record(folder: Path) -> list[dict[str, object]]:
    """The rows of metrics.jsonl without what a clock measured."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if "second" not in name} for row in rows]


def wait_until(condition: Callable[[], bool], *, seconds: float) -> None:
    """Polls; fails when time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
