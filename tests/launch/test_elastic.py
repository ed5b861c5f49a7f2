"""Ranks under torch's elastic launcher: signals, exit statuses, and whose fault is told; with real processes."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest
from parent import Parent

TWO_RANKS = "run_ranks(command, Node(2, 1, None, True))"

JOINED = """
import os, signal, sys
from pathlib import Path
from tsallis_run.launch.rank import leave
from tsallis_run import ranks

ranks.join()
Path("ready-" + os.environ["RANK"]).touch()
try:
    if os.environ["RANK"] == "1":
        FAULT
    ranks.wait_for_all()
except Exception as error:
    leave(error)
"""
"""Stands in for a training in which rank 0 waits for rank 1."""


@pytest.fixture
def parent(tmp_path: Path) -> Parent:
    return Parent(tmp_path)


def test_every_rank_is_told_and_the_status_of_a_stopped_run_comes_back(parent: Parent) -> None:
    """Twice: a cluster tells every process, and the parent of this one passes on what it was told."""
    process = parent.start(TWO_RANKS)
    parent.wait_for("ready-0", "ready-1")
    process.send_signal(signal.SIGUSR1)
    process.send_signal(signal.SIGUSR2)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    told = [set((parent.folder / f"told-{rank}").read_text().split()) for rank in (0, 1)]
    assert all(names and names <= {"SIGUSR1", "SIGUSR2"} for names in told)
    assert "Traceback" not in errors


def test_the_status_of_the_rank_that_failed_comes_back_and_the_others_are_ended(parent: Parent) -> None:
    child = "import os, sys, time\nif os.environ['RANK'] == '1': sys.exit(2)\ntime.sleep(60)"
    process = parent.start(TWO_RANKS, child=child)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (2, "")


def test_ranks_that_all_finish_make_a_finished_run(parent: Parent) -> None:
    child = "import os; open('rank-{RANK}-of-{WORLD_SIZE}'.format(**os.environ), 'w').close()"
    process = parent.start(TWO_RANKS, child=child)
    assert process.wait(timeout=60) == 0
    assert {path.name for path in parent.folder.glob("rank-*")} == {"rank-0-of-2", "rank-1-of-2"}


def test_the_rank_that_failed_shows_its_traceback_and_those_that_waited_for_it_show_none(parent: Parent) -> None:
    process = parent.start(TWO_RANKS, child=JOINED.replace("FAULT", "raise ValueError('mine')"))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith("tsallis-run: rank 1: Traceback (most recent call last):\n")
    assert errors.endswith("ValueError: mine\n")
    assert "gloo" not in errors


def test_a_rank_that_is_killed_is_told_and_takes_the_others_down_within_seconds(parent: Parent) -> None:
    process = parent.start(TWO_RANKS, child=JOINED.replace("FAULT", "os.kill(os.getpid(), signal.SIGKILL)"))
    parent.wait_for("ready-1")
    killed = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, "tsallis-run: a training process was killed by SIGKILL\n")
    assert time.monotonic() - killed < 15


def machine(port: int, *, is_first: bool) -> str:
    return f"run_ranks(command, Node(1, 2, 'localhost:{port}', {is_first}))"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return int(one.getsockname()[1])


def test_machines_wait_for_one_another_and_rank_0_is_on_the_first(parent: Parent) -> None:
    child = "import os; open('{RANK}-of-{WORLD_SIZE}-at-{MASTER_ADDR}-for-{NAME}'.format(**os.environ), 'w').close()"
    port = free_port()
    machines = [
        parent.start(machine(port, is_first=is_first), child=child, before=f"os.environ['NAME'] = '{is_first}'")
        for is_first in (False, True)
    ]
    assert [process.wait(timeout=60) for process in machines] == [0, 0]
    found = {path.name for path in parent.folder.glob("*-of-*")}
    assert found == {"0-of-2-at-localhost-for-True", "1-of-2-at-localhost-for-False"}


def test_a_machine_that_waits_for_the_others_can_be_stopped(parent: Parent) -> None:
    waits = "from tsallis_run.launch import elastic; elastic.time.sleep = lambda _: open('ready-0', 'w').close()"
    process = parent.start(machine(free_port(), is_first=True), before=waits)
    parent.wait_for("ready-0")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 75


def test_a_machine_that_is_left_alone_says_so(parent: Parent) -> None:
    port = free_port()
    process = parent.start(
        machine(port, is_first=True), before="from tsallis_run.launch import elastic; elastic.MEETING_SECONDS = 0"
    )
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors == f"tsallis-run: launch.rendezvous: localhost:{port}: 1 of 2 machines came within 0 s\n"
