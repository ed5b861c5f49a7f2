"""Two network namespaces as two machines: `make test-namespaces`. Needs root and iproute2; no part of `make test`.

Each has an address of its own and reaches the other by a cable; the name of the host means the loopback in both.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cluster.runs import finish, record, run, start, steps, wait_until

FIRST, SECOND = "tsallis-first", "tsallis-second"
ADDRESSES = {FIRST: "10.77.0.1", SECOND: "10.77.0.2"}
TWO_MACHINES = ("launch.num_nodes=2", f"launch.rendezvous={ADDRESSES[FIRST]}:29511", "output_dir=two")
LENGTH = ("num_steps=6", "evaluation.every_steps=6")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@pytest.fixture(scope="module", autouse=True)
def _two_machines() -> Iterator[None]:
    for name in ADDRESSES:
        ip("netns", "add", name)
    try:
        ip("link", "add", "cable", "netns", FIRST, "type", "veth", "peer", "name", "cable", "netns", SECOND)
        for name, address in ADDRESSES.items():
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield
    finally:
        for name in ADDRESSES:
            ip("netns", "delete", name)


def start_both(*overrides: str, cwd: Path) -> list[subprocess.Popen[str]]:
    """The same command on both, the second machine first: it waits."""
    return [start(*overrides, cwd=cwd, within=("ip", "netns", "exec", name)) for name in (SECOND, FIRST)]


def ranks_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes at the end of the chain command, launcher, ranks."""
    (launcher,) = psutil.Process(process.pid).children()
    return [child for child in launcher.children() if "tsallis_run.launch" in child.cmdline()]


def test_one_run_on_two_machines_is_the_run_of_two_ranks_on_one(tmp_path: Path) -> None:
    second, first = (finish(process, seconds=400) for process in start_both(*TWO_MACHINES, *LENGTH, cwd=tmp_path))
    assert (first[0], second[0]) == (0, 0)
    assert "2 process(es)" in first[1]
    assert second[1] == "", "the first machine tells"
    assert run("launch.num_processes=2", "output_dir=one", *LENGTH, cwd=tmp_path)[0] == 0
    assert record(tmp_path / "two") == record(tmp_path / "one")


def test_one_machine_that_is_told_to_stop_stops_the_run_and_both_go_on_together(tmp_path: Path) -> None:
    longer = ("num_steps=60", "evaluation.every_steps=60")
    processes = start_both(*TWO_MACHINES, *longer, cwd=tmp_path)
    wait_until(lambda: 3 in steps(tmp_path / "two"), seconds=300)
    processes[0].send_signal(signal.SIGTERM)
    assert [finish(process, seconds=60)[0] for process in processes] == [75, 75]
    behind = max(steps(tmp_path / "two"))
    assert behind < 60
    going_on = start_both("resume=two", *TWO_MACHINES, cwd=tmp_path)
    assert [finish(process, seconds=400)[0] for process in going_on] == [0, 0]
    assert steps(tmp_path / "two")[:-2] == [0, *range(1, 61)]


def test_a_killed_rank_takes_both_machines_down_within_seconds(tmp_path: Path) -> None:
    processes = start_both(*TWO_MACHINES, "num_steps=400", "evaluation.every_steps=400", cwd=tmp_path)
    wait_until(lambda: 3 in steps(tmp_path / "two"), seconds=300)
    (rank,) = ranks_of(processes[0])
    killed = time.monotonic()
    rank.kill()
    second, first = (finish(process, seconds=60) for process in processes)
    assert (first[0], second[0]) == (1, 1)
    assert time.monotonic() - killed < 30
    assert "killed by SIGKILL" in second[1]
