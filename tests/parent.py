"""A process of its own that starts children, for tests of signals and exit statuses."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import tsallis_run

CHILD = """
import os, signal, sys, time
from pathlib import Path

rank = os.environ.get("RANK", "0")
told = []
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, lambda number, frame: told.append(signal.Signals(number).name))
Path(f"ready-{rank}").touch()
while not told:
    time.sleep(0.01)
time.sleep(0.1)
Path(f"told-{rank}").write_text(" ".join(told))
sys.exit(75)
"""
"""Stands in for a training: notes the signal it is told by, saves, stops."""


class Parent:
    """A process that runs one of the functions under test with a child, from a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, call: str, child: str = CHILD, before: str = "") -> subprocess.Popen[str]:
        """Starts `call`, in which `command` is the child's command line; `before` is run ahead of it."""
        (self.folder / "child.py").write_text(child)
        program = (
            "import os, signal, sys\n"
            "from tsallis_run.launch.elastic import run_ranks\n"
            "from tsallis_run.launch.nodes import Node\n"
            "from tsallis_run.launch.processes import run_child, stop_at_once_when_told\n"
            f"command = [sys.executable, {str(self.folder / 'child.py')!r}]\n"
            f"{before}\n"
            f"sys.exit({call})"
        )
        environment = {**os.environ, "PYTHONPATH": str(Path(tsallis_run.__file__).parents[1])}
        return subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, *names: str) -> None:
        """Waits until the child, or the ranks, have left these files."""
        deadline = time.monotonic() + 60
        while not all((self.folder / name).exists() for name in names):
            assert time.monotonic() < deadline, f"waited for {names}, found {list(self.folder.iterdir())}"
            time.sleep(0.01)
