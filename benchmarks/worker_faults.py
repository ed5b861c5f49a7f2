"""A run whose generation worker is killed twice: while it samples, and while it takes new weights.

python benchmarks/worker_faults.py [key=value ...]      settings of the run beside those below

Prints for each kill how long the run was without a worker, and at the end what the run has to show: its exit status,
rollouts a step, restarts, and the largest difference between engine and trainer after any weight sync.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from tsallis_run.engine.server.addresses import AddressBook
from tsallis_run.tracking.records import RunFolder, read_rows

SETTINGS = [
    *("rollout=vllm_server", "model=tiny", "dataset=reversal", "num_steps=6", "evaluation.every_steps=3"),
    *("dataset.num_validation=8", "dataset.num_test=8", "evaluation.num_samples=4"),
    *("rollout.max_rationale_tokens=48", "tracker.rollouts_every_steps=1", "tracker.wandb.mode=disabled"),
]
BUSY_CONNECTIONS = 8
"""A worker with so many is sampling: watching it and giving it weights takes three."""
LIMIT_SECONDS = 900.0


@dataclass(frozen=True)
class Run:
    """A run in processes of its own, seen from outside."""

    process: subprocess.Popen[bytes]
    folder: RunFolder

    @property
    def url(self) -> str | None:
        """Of the worker; None while there is none to be used."""
        book = self.folder.path / "workers" / "addresses-0.json"
        urls = AddressBook(book).read().urls if book.exists() else ()
        return urls[0] if urls else None

    @property
    def worker(self) -> psutil.Process | None:
        """The worker's server."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if "tsallis_run.engine.server.worker" in process.cmdline():
                    return process
            except psutil.Error:
                continue
        return None

    @property
    def num_steps(self) -> int:
        """Optimizer steps so far."""
        rows = read_rows(self.folder.metrics) if self.folder.metrics.exists() else []
        return sum(row["split"] == "train" for row in rows)

    def is_sampling(self) -> bool:
        """True while many requests are in flight."""
        try:
            connections = self.worker.net_connections() if self.worker else []
        except psutil.Error:
            return False
        return sum(c.status == psutil.CONN_ESTABLISHED for c in connections) >= BUSY_CONNECTIONS

    def is_taking_weights(self) -> bool:
        """True while the worker is paused, which it is for nothing else."""
        try:
            with urllib.request.urlopen(f"{self.url}/is_paused", timeout=5) as answer:
                return bool(json.load(answer)["is_paused"])
        except (OSError, ValueError, urllib.error.URLError):
            return False


def wait_until(condition: Callable[[], bool], run: Run, pause_seconds: float = 0.002) -> float:
    """Seconds until `condition` holds."""
    start = time.monotonic()
    while not condition():
        assert run.process.poll() is None, f"the run ended with status {run.process.returncode}"
        assert time.monotonic() - start < LIMIT_SECONDS, "waited too long"
        time.sleep(pause_seconds)
    return time.monotonic() - start


def kill(run: Run, moment: str, is_now: Callable[[], bool]) -> None:
    """Kills the worker at that moment and says how long the run was without one."""
    wait_until(is_now, run)
    worker, before, step = run.worker, run.url, run.num_steps
    assert worker is not None
    worker.send_signal(signal.SIGKILL)
    noticed = wait_until(lambda: run.url != before, run)
    back = noticed + wait_until(lambda: run.url is not None, run)
    print(
        f"killed while {moment:15} behind step {step}: noticed after {noticed:5.2f} s, back after {back:6.2f} s",
        flush=True,
    )


def main(overrides: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(Path(place) / "run")
        command = [sys.executable, "-c", "from tsallis_run.cli import main; main()"]
        command += [*SETTINGS, f"output_dir={folder.path}", *overrides]
        run = Run(subprocess.Popen(command, stdout=subprocess.DEVNULL, env=dict(os.environ)), folder)
        wait_until(lambda: run.num_steps >= 1, run)
        kill(run, "sampling", run.is_sampling)
        wait_until(lambda: run.num_steps >= 3, run)
        kill(run, "taking weights", run.is_taking_weights)
        status = run.process.wait(LIMIT_SECONDS)
        rows = [row for row in read_rows(folder.metrics) if row["split"] == "train"]
        rollouts = [len(file.read_text().splitlines()) for file in sorted(folder.path.glob("rollouts/step-*.jsonl"))]
        largest = max(float(row["probe_difference"]) for row in rows)
        print(f"the run ended with status {status} behind {len(rows)} steps; rollouts of each step: {rollouts}")
        print(f"largest difference of engine and trainer after a weight sync: {largest:.1e} nats per token")


if __name__ == "__main__":
    main(sys.argv[1:])
