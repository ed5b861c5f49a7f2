"""Seconds from the command to the end of the first step, and what they go to.

    python benchmarks/start_up.py [key=value ...]

The time of each line that a run prints, of the first row of its record, and of the imports it makes on the way.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from side_by_side import machine

COMMAND = "from tsallis_run.cli import main; main()"
SETTINGS = (
    *("tracker.wandb.mode=disabled", "tracker.display=lines", "checkpoint.every_steps=null", "num_steps=1"),
    *("dataset.num_validation=2", "dataset.num_test=2", "evaluation.num_samples=2"),
)
ROOMS = ("torch", "transformers", "deepspeed", "vllm", "datasets")


def stamps(overrides: list[str]) -> list[tuple[float, str]]:
    """(seconds since the command, what was printed or recorded then)."""
    with tempfile.TemporaryDirectory() as folder:
        metrics = Path(folder, "run", "metrics.jsonl")
        command = [sys.executable, "-u", "-c", COMMAND, *SETTINGS, *overrides, f"output_dir={folder}/run"]
        begun = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert child.stdout is not None
        found, num_rows = [], 0
        os.set_blocking(child.stdout.fileno(), False)
        while child.poll() is None:
            found += [
                (time.perf_counter() - begun, line.strip()) for line in iter(child.stdout.readline, "") if line.strip()
            ]
            rows = metrics.read_text().count("\n") if metrics.exists() else 0
            found += [(time.perf_counter() - begun, f"row {row + 1} of the record") for row in range(num_rows, rows)]
            num_rows = rows
            time.sleep(0.01)
        return found


def import_seconds(room: str) -> float:
    code = f"import time; t = time.perf_counter(); import {room}; print(time.perf_counter() - t)"
    return float(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()[-1]
    )


def main(overrides: list[str]) -> None:
    print(machine(), "|", *overrides)
    for room in ROOMS:
        print(f"import {room:14}{import_seconds(room):7.1f} s by itself")
    for seconds, what in stamps(overrides):
        print(f"{seconds:7.1f} s  {what[:100]}")


if __name__ == "__main__":
    main(sys.argv[1:])
