"""The signal on which a run saves reaches every process of a job: the run hears it, what it has started does not."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from parent import Parent

RUN = """
import os, subprocess, sys, time
from tsallis_run.stop import StopRequest

stop = StopRequest()
engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
for process in (os.getpid(), engine.pid):
    os.kill(process, SIGNAL)
time.sleep(0.5)
told = stop.agreed()
survived = engine.poll() is None
engine.kill()
sys.exit(f"told {told}, survived {survived}")
"""


@pytest.fixture
def parent(tmp_path: Path) -> Parent:
    return Parent(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_what_a_run_has_started_outlives_the_signal_of_a_cluster(parent: Parent, number: signal.Signals) -> None:
    process = parent.start("None", before=RUN.replace("SIGNAL", str(int(number))))
    _, errors = process.communicate(timeout=60)
    assert errors == "told True, survived True\n"


def test_a_termination_ends_what_a_run_has_started(parent: Parent) -> None:
    process = parent.start("None", before=RUN.replace("SIGNAL", str(int(signal.SIGTERM))))
    _, errors = process.communicate(timeout=60)
    assert errors == "told True, survived False\n"
