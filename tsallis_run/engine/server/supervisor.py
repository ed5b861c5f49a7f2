"""Keeps the workers of this machine alive and at the newest weights.

Each worker has a thread that alone talks to it: starts it, brings it weights, looks after its health, and where it dies
or falls silent kills what is left of it and begins again. The rest of the run sees two things: the address book, in
which a worker stands only while it holds the newest weights, and `hand_over`, which returns once all hold them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, Thread

from tsallis_run.engine.server.addresses import ENDED, AddressBook, Addresses
from tsallis_run.engine.server.control import Server, ServerError
from tsallis_run.engine.server.shared_weights import SharedWeights
from tsallis_run.engine.server.worker_process import WorkerProcess, free_port
from tsallis_run.types import EngineError, UserError

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
"""Between two looks at a worker."""
START_PROBE_SECONDS = 5.0
"""For one look at a worker that is starting."""

StartWorker = Callable[[int, int], WorkerProcess]
"""(number of the worker, port of this machine) -> its process."""


@dataclass(frozen=True)
class Limits:
    """How long a worker may take, and how often workers may fail."""

    start_seconds: float
    """From its start to its first sign of life."""
    silence_seconds: float
    """Without a sign of life; also for taking new weights."""
    max_restarts: int
    """Of all workers together."""


class Supervisor:
    """The workers of one machine, each kept by a thread."""

    def __init__(self, start_worker: StartWorker, *, num_workers: int, limits: Limits, book: AddressBook) -> None:
        self.num_restarts = 0
        self._start_worker = start_worker
        self._limits = limits
        self._book = book
        self._weights: SharedWeights | None = None
        self._failure: EngineError | UserError | None = None
        self._changed = Condition()
        """Held to change what stands above or a worker's `is_up`, and told of it."""
        self._workers = [_Worker(number) for number in range(num_workers)]
        self._threads = [Thread(target=self._keep, args=(worker,), daemon=True) for worker in self._workers]

    def start(self) -> None:
        """Starts all workers side by side and returns once all are up.

        Raises:
            EngineError: with the end of its log, where one does not come up.
        """
        self._book.write(Addresses(()))
        for thread in self._threads:
            thread.start()
        self._wait_for_all(timeout_seconds=None)

    def hand_over(self, weights: SharedWeights, *, timeout_seconds: float) -> None:
        """Brings the weights to every worker; to one that dies meanwhile, as soon as it is up again.

        Raises:
            EngineError: where a worker cannot be had any more, or time runs out.
            UserError: where the model has weights that are not among them.
        """
        with self._changed:
            self._weights = weights
            for worker in self._workers:
                worker.is_up = False
            self._changed.notify_all()
        self._wait_for_all(timeout_seconds)

    def close(self) -> None:
        """Ends all workers, at once."""
        self._fail(EngineError(ENDED))
        for worker, thread in zip(self._workers, self._threads, strict=True):
            worker.kill()  # also what its thread waits for
            thread.join()
            worker.kill()  # what its thread had just started

    @property
    def addresses(self) -> Addresses:
        """Where the workers can be reached just now, also where the address book could not be written."""
        if self._failure is not None:
            return Addresses((), str(self._failure))
        return Addresses(tuple(worker.url for worker in self._workers if worker.is_up))

    def _wait_for_all(self, timeout_seconds: float | None) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._failure or all(w.is_up for w in self._workers), timeout_seconds)
            if self._failure is not None:
                raise self._failure
            missing = [worker.name for worker in self._workers if not worker.is_up]
        if missing:
            raise EngineError(f"{', '.join(missing)} did not take new weights within {timeout_seconds:g} s")

    @property
    def _is_over(self) -> bool:
        return self._failure is not None

    def _keep(self, worker: _Worker) -> None:
        """Drives one worker through its lives."""
        while not self._is_over:
            try:
                self._bring_up(worker)
                self._attend(worker)
            except ServerError as error:
                worker.kill()
                self._lose(worker, error)
            except UserError as mistake:
                self._fail(mistake)
            except Exception as error:  # the run would wait for a thread that ended unseen
                self._fail(EngineError(f"{worker.name} could not be kept: {type(error).__name__}: {error}"))

    def _bring_up(self, worker: _Worker) -> None:
        """Starts a worker and waits for its first sign of life."""
        port = free_port()
        server = Server(f"http://127.0.0.1:{port}", limit_seconds=self._limits.silence_seconds)
        worker.begin(self._start_worker(worker.number, port), server)
        deadline = time.monotonic() + self._limits.start_seconds
        while not self._is_over:
            try:
                return worker.check_health(START_PROBE_SECONDS)
            except ServerError as error:
                if worker.has_ended:
                    raise
                if time.monotonic() > deadline:
                    message = f"{worker.name} gave no sign of life within rollout.start_timeout_seconds="
                    raise ServerError(f"{message}{self._limits.start_seconds:g}") from error
                time.sleep(POLL_SECONDS)
        return None

    def _attend(self, worker: _Worker) -> None:
        """Brings every new version of the weights, and looks after the worker's health, until it fails or all ends."""
        while not self._is_over:
            self._serve(worker, self._weights)
            worker.check_health(self._limits.silence_seconds)

    def _serve(self, worker: _Worker, weights: SharedWeights | None) -> None:
        """Lets the worker serve with these weights, for a moment or until there are newer ones."""
        if weights is not None and worker.weights is not weights:
            worker.load(weights)
        with self._changed:
            if not worker.is_up and weights is self._weights:
                worker.is_up = worker.was_up = True
                self._publish()
            self._changed.wait_for(lambda: self._is_over or weights is not self._weights, POLL_SECONDS)

    def _lose(self, worker: _Worker, error: ServerError) -> None:
        """Takes a dead worker out of the address book; gives up where it may not be started again."""
        if self._is_over:
            return
        spent = self.num_restarts >= self._limits.max_restarts
        if spent or not worker.was_up:
            restarts = f"failed after rollout.max_restarts={self._limits.max_restarts} restarts"
            why = restarts if worker.was_up else "did not start"
            self._fail(EngineError(f"{worker.name} {why}: {error}\n{worker.last_words}"))
            return
        with self._changed:
            self.num_restarts += 1
            worker.is_up = False
            self._publish()
        logger.warning(
            "%s is started again (%d of %d): %s", worker.name, self.num_restarts, self._limits.max_restarts, error
        )

    def _fail(self, failure: EngineError | UserError) -> None:
        with self._changed:
            self._failure = self._failure or failure
            self._publish()

    def _publish(self) -> None:
        """Tells the address book and who waits here; these alone where the disk is full: then all is over."""
        try:
            self._book.write(self.addresses)
        except OSError as error:
            self._failure = self._failure or EngineError(f"the addresses of the workers could not be written: {error}")
        self._changed.notify_all()


class _Worker:
    """One worker over all its lives; only its own thread talks to it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"worker {number}"
        self.is_up = False
        """It holds the newest weights, as far as there are any."""
        self.was_up = False
        self.weights: SharedWeights | None = None
        self._process: WorkerProcess | None = None
        self._server: Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None, "a worker has an address once it was started"
        return self._server.url

    @property
    def has_ended(self) -> bool:
        return self._process is None or self._process.exit_status is not None

    @property
    def last_words(self) -> str:
        return "" if self._process is None else self._process.last_words

    def begin(self, process: WorkerProcess, server: Server) -> None:
        self._process, self._server, self.weights = process, server, None

    def check_health(self, within_seconds: float) -> None:
        self._try(lambda server: server.check_health(within_seconds))

    def load(self, weights: SharedWeights) -> None:
        self._try(lambda server: server.load(weights))
        self.weights = weights

    def _try(self, call: Callable[[Server], None]) -> None:
        """Calls; where that fails because the process has ended, says so."""
        assert self._process is not None
        assert self._server is not None
        try:
            call(self._server)
        except ServerError as error:
            status = self._process.exit_status
            if status is None:
                raise
            raise ServerError(f"{self.name} ended with status {status}") from error

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
