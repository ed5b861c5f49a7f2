"""Signals go down to the child, exit statuses come up from it: with real processes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from parent import CHILD, Parent


@pytest.fixture
def parent(tmp_path: Path) -> Parent:
    return Parent(tmp_path)


ALL_SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2]


@pytest.mark.parametrize("number", ALL_SIGNALS)
def test_a_stop_signal_reaches_the_child_once_and_its_exit_status_comes_back(
    parent: Parent, number: signal.Signals
) -> None:
    process = parent.start("run_child(command, os.environ)")
    parent.wait_for("ready-0")
    process.send_signal(number)
    assert process.wait(timeout=30) == 75
    assert (parent.folder / "told-0").read_text() == number.name


def test_a_closed_terminal_tells_the_child_to_stop(parent: Parent) -> None:
    hears_it = "signal.signal(signal.SIGHUP, signal.SIG_DFL)"  # these tests may themselves run under nohup
    process = parent.start("run_child(command, os.environ)", before=hears_it)
    parent.wait_for("ready-0")
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=30) == 75
    assert (parent.folder / "told-0").read_text() == "SIGTERM"


def test_ctrl_c_in_the_terminal_is_not_heard_twice(parent: Parent) -> None:
    """The terminal tells every process of its session's foreground group: the child leads a session of its own."""
    child = "import os, sys; sys.exit(0 if os.getsid(0) == os.getpid() else 1)"
    process = parent.start("run_child(command, os.environ)", child=child)
    assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("status", [0, 1, 2, 75])
def test_the_childs_exit_status_is_the_parents(parent: Parent, status: int) -> None:
    process = parent.start("run_child(command, os.environ)", child=f"import sys; sys.exit({status})")
    assert process.wait(timeout=30) == status


def test_a_child_that_dies_of_the_signal_it_was_told_counts_as_stopped(parent: Parent) -> None:
    child = "import time; from pathlib import Path; Path('ready-0').touch(); time.sleep(60)"
    process = parent.start("run_child(command, os.environ)", child=child)
    parent.wait_for("ready-0")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=30) == 75


def test_a_child_that_is_killed_counts_as_failed_and_the_signal_is_named(parent: Parent) -> None:
    process = parent.start(
        "run_child(command, os.environ)", child="import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    )
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors == "tsallis-run: a training process was killed by SIGKILL\n"


def test_a_handler_that_was_there_before_is_called_once_the_child_has_stopped(parent: Parent) -> None:
    """As a cluster's launcher does, which puts the job back into the queue."""
    before = "signal.signal(signal.SIGUSR2, lambda *_: print('saved:', os.path.exists('told-0'), flush=True))"
    process = parent.start("run_child(command, os.environ)", before=before)
    parent.wait_for("ready-0")
    process.send_signal(signal.SIGUSR2)
    output, _ = process.communicate(timeout=30)
    assert (process.returncode, output) == (75, "saved: True\n")


def test_a_handler_that_was_there_before_is_not_called_where_the_child_has_finished(parent: Parent) -> None:
    before = "signal.signal(signal.SIGUSR2, lambda *_: print('back into the queue'))"
    child = CHILD.replace("sys.exit(75)", "sys.exit(0)")
    process = parent.start("run_child(command, os.environ)", child=child, before=before)
    parent.wait_for("ready-0")
    process.send_signal(signal.SIGUSR2)
    output, _ = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, "")


def test_the_child_runs_in_the_environment_it_is_given(parent: Parent) -> None:
    child = "import os, sys; sys.exit(int(os.environ['ANSWER']))"
    process = parent.start("run_child(command, {**os.environ, 'ANSWER': '42'})", child=child)
    assert process.wait(timeout=30) == 42


def test_before_the_training_a_signal_ends_the_process_with_the_status_of_a_stopped_run(parent: Parent) -> None:
    before = "import time; stop_at_once_when_told(); open('ready-0', 'w').close()"
    process = parent.start("time.sleep(60)", before=before)
    parent.wait_for("ready-0")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 75
