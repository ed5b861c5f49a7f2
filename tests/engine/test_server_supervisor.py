"""Workers that die, hang and do not start, with a fake server in a real process."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tsallis_run.engine.server.addresses import AddressBook, Addresses
from tsallis_run.engine.server.shared_weights import SharedWeights
from tsallis_run.engine.server.supervisor import Limits, Supervisor
from tsallis_run.engine.server.worker_process import WorkerProcess
from tsallis_run.types import EngineError, UserError

FAKE = str(Path(__file__).parent / "fake_server.py")


class Workers:
    """A supervisor of fake servers in a folder of its own, and what the servers were told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.book = AddressBook(folder / "addresses.json")
        self.supervisor: Supervisor | None = None
        self._weights: list[SharedWeights] = []

    def start(
        self, *arguments: str, num_workers: int = 1, silence: float = 20.0, start: float = 20.0, restarts: int = 3
    ) -> Supervisor:
        """`arguments` of the interpreter take the place of the fake server's."""

        def start_worker(worker: int, port: int) -> WorkerProcess:
            command = [sys.executable, *(arguments or (FAKE, str(self.folder), str(port)))]
            return WorkerProcess(command, os.environ, self.folder / f"worker-{worker}.log")

        limits = Limits(start, silence, restarts)
        self.supervisor = Supervisor(start_worker, num_workers=num_workers, limits=limits, book=self.book)
        self.supervisor.start()
        return self.supervisor

    def weights(self, version: int) -> SharedWeights:
        self._weights.append(SharedWeights([("w", torch.ones(2))], version))
        return self._weights[-1]

    def close(self) -> None:
        if self.supervisor is not None:
            self.supervisor.close()
        for weights in self._weights:
            weights.close()

    def calls(self, path: str) -> list[tuple[int, Any]]:
        """(process, what was sent) of every call to a path."""
        rows = [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]
        return [(pid, body) for pid, called, body in rows if called == path]

    @property
    def pids(self) -> list[int]:
        """Of all servers so far, in the order of their starts."""
        return list(dict.fromkeys(pid for pid, _ in self.calls("/is_paused")))


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    workers = Workers(tmp_path)
    yield workers
    workers.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited for 30 s"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_every_worker_is_given_every_version_of_the_weights(workers: Workers) -> None:
    supervisor = workers.start(num_workers=2)
    assert len(workers.book.read().urls) == 2
    for version in (4, 5, 5):  # the same version once more may be other weights: those of the best checkpoint
        supervisor.hand_over(workers.weights(version), timeout_seconds=20.0)
        assert len(workers.book.read().urls) == 2
    versions = [(pid, body["update_info"]["version"]) for pid, body in workers.calls("/update_weights")]
    assert sorted(versions) == sorted((pid, version) for pid in workers.pids for version in (4, 5, 5))
    assert supervisor.num_restarts == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_hangs_comes_back_with_the_newest_weights_at_another_address(
    workers: Workers, number: signal.Signals
) -> None:
    supervisor = workers.start(silence=3.0)
    supervisor.hand_over(workers.weights(4), timeout_seconds=20.0)
    (pid,), before = workers.pids, workers.book.read()
    os.kill(pid, number)
    wait_until(lambda: workers.book.read().urls not in ((), before.urls))
    _, fresh = workers.pids
    assert [(pid, body["update_info"]["version"]) for pid, body in workers.calls("/update_weights")][-1] == (fresh, 4)
    assert supervisor.num_restarts == 1
    assert not is_running(pid)


@pytest.mark.parametrize("path", ["/start_weight_update", "/update_weights", "/finish_weight_update", "/resume"])
def test_a_worker_that_dies_within_a_sync_takes_the_weights_when_it_is_back(workers: Workers, path: str) -> None:
    supervisor = workers.start()
    (workers.folder / "die-at").write_text(path)
    supervisor.hand_over(workers.weights(4), timeout_seconds=20.0)
    _, fresh = workers.pids
    assert workers.calls("/resume")[-1][0] == fresh
    assert supervisor.num_restarts == 1


def test_a_worker_that_loses_its_model_within_a_sync_is_not_waited_for(workers: Workers) -> None:
    supervisor = workers.start()
    (workers.folder / "loses-its-engine-at").write_text("/update_weights")
    start = time.monotonic()
    supervisor.hand_over(workers.weights(4), timeout_seconds=20.0)
    assert time.monotonic() - start < 10
    assert supervisor.num_restarts == 1


def test_a_model_that_got_too_few_weights_is_the_users_mistake_and_no_fault_of_the_worker(workers: Workers) -> None:
    supervisor = workers.start()
    complaint = "model.path: must hold every weight of its architecture, got none for w"
    wrapped = f"Call failed: Worker failed with error '{complaint}', please check the stack trace above"
    (workers.folder / "refusal").write_text(json.dumps({"error": {"message": wrapped, "code": 500}}))
    with pytest.raises(UserError, match=f"^{complaint}$"):
        supervisor.hand_over(workers.weights(4), timeout_seconds=20.0)
    assert supervisor.num_restarts == 0


def test_a_worker_that_hangs_within_a_sync_does_not_hold_it_up_for_long(workers: Workers) -> None:
    supervisor = workers.start(silence=3.0)
    os.kill(workers.pids[0], signal.SIGSTOP)
    start = time.monotonic()
    supervisor.hand_over(workers.weights(4), timeout_seconds=20.0)
    assert time.monotonic() - start < 10
    assert supervisor.num_restarts == 1


def test_restarts_are_limited_and_what_the_worker_said_last_is_told(workers: Workers) -> None:
    supervisor = workers.start(restarts=1)
    os.kill(workers.pids[0], signal.SIGKILL)
    wait_until(lambda: len(workers.pids) == 2)
    wait_until(lambda: bool(workers.book.read().urls))
    os.kill(workers.pids[1], signal.SIGKILL)
    wait_until(lambda: workers.book.read().failure is not None)
    complaint = r"worker 0 failed after rollout.max_restarts=1 restarts: worker 0 ended with status -9\n"
    with pytest.raises(EngineError, match=complaint + "(the fake server is up\n?)+"):
        supervisor.hand_over(workers.weights(4), timeout_seconds=20.0)
    assert workers.book.read().urls == ()


def test_a_worker_that_cannot_start_is_told_with_the_end_of_its_log(workers: Workers) -> None:
    with pytest.raises(EngineError, match="worker 0 did not start: worker 0 ended with status 3\nno memory left"):
        workers.start("-c", "import sys; print('no memory left'); sys.exit(3)")


def test_a_worker_that_takes_too_long_to_start_is_given_up(workers: Workers) -> None:
    with pytest.raises(EngineError, match=r"worker 0 did not start: .* rollout.start_timeout_seconds=1"):
        workers.start("-c", "import time; time.sleep(600)", start=1.0)


def test_closing_ends_the_workers_within_seconds(workers: Workers) -> None:
    supervisor = workers.start(num_workers=2)
    os.kill(workers.pids[0], signal.SIGSTOP)
    start = time.monotonic()
    supervisor.close()
    assert time.monotonic() - start < 5
    assert not any(is_running(pid) for pid in workers.pids)
    assert supervisor.num_restarts == 0


def test_addresses_that_a_full_disk_cannot_take_end_the_run(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = workers.start()

    def full(book: AddressBook, addresses: Addresses) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as within:
        within.setattr(AddressBook, "write", full)
        complaint = "the addresses of the workers could not be written: .*No space left on device"
        with pytest.raises(EngineError, match=complaint):
            supervisor.hand_over(workers.weights(4), timeout_seconds=20.0)
        assert supervisor.addresses.urls == ()
        supervisor.close()
    assert not any(is_running(pid) for pid in workers.pids)
