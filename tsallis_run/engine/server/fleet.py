"""The servers of a run as one of its ranks sees them: workers of its own machine, or servers given by their URLs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from tsallis_run.config import VllmServerRollout
from tsallis_run.engine.server.addresses import ENDED, AddressBook, Addresses
from tsallis_run.engine.server.control import Server, ServerError
from tsallis_run.engine.server.shared_weights import SharedWeights
from tsallis_run.engine.server.supervisor import Limits, StartWorker, Supervisor
from tsallis_run.engine.server.worker_process import WorkerProcess, worker_command, worker_environment
from tsallis_run.types import EngineError

Weights = Iterable[tuple[str, Tensor]]


class Fleet(Protocol):
    """Every rank has one and calls its methods alike; what they do, one rank does for all."""

    @property
    def num_restarts(self) -> int:
        """Servers started again so far, on the rank that keeps them."""
        ...

    def start(self) -> None:
        """Returns once the servers are up; raises EngineError where they do not come."""
        ...

    def look_up(self) -> Addresses:
        """Where they can be reached just now."""
        ...

    def load(self, weights: Weights, version: int) -> None:
        """Draws all the weights, on every rank, and brings them to the servers."""
        ...

    def reset_cache(self) -> None:
        """Forgets cached prefixes, as far as no other rank is using them."""
        ...

    def close(self) -> None:
        """Ends what was started."""
        ...


class OwnWorkers:
    """The workers of this machine, kept by its first rank; the others read the address book."""

    def __init__(self, start_worker: StartWorker, config: VllmServerRollout, book: Path, *, is_keeper: bool) -> None:
        self._book = AddressBook(book)
        self._timeout_seconds = config.timeout_seconds
        self._weights: SharedWeights | None = None
        self._supervisor: Supervisor | None = None
        if is_keeper:
            book.parent.mkdir(parents=True, exist_ok=True)
            limits = Limits(config.start_timeout_seconds, config.health_timeout_seconds, config.max_restarts)
            self._supervisor = Supervisor(start_worker, num_workers=config.num_workers, limits=limits, book=self._book)

    @property
    def num_restarts(self) -> int:
        return 0 if self._supervisor is None else self._supervisor.num_restarts

    def start(self) -> None:
        if self._supervisor is not None:
            self._supervisor.start()

    def look_up(self) -> Addresses:
        return self._book.read() if self._supervisor is None else self._supervisor.addresses

    def load(self, weights: Weights, version: int) -> None:
        if self._supervisor is None:
            return _draw(weights)
        fresh, old = SharedWeights(weights, version), self._weights
        self._weights = fresh
        self._supervisor.hand_over(fresh, timeout_seconds=self._timeout_seconds)
        if old is not None:
            old.close()
        return None

    def reset_cache(self) -> None:
        if self._supervisor is not None:
            _reset_caches([Server(url, limit_seconds=self._timeout_seconds) for url in self.look_up().urls])

    def close(self) -> None:
        if self._supervisor is not None:
            self._supervisor.close()
        if self._weights is not None:
            self._weights.close()


class GivenServers:
    """Servers that somebody else keeps; the first rank of the run brings them the weights."""

    num_restarts = 0  # nobody starts them again

    def __init__(self, config: VllmServerRollout, *, is_first: bool) -> None:
        self._addresses = Addresses(config.urls)
        self._over_nccl = config.transfers_over_nccl
        self._servers = [Server(url, limit_seconds=config.health_timeout_seconds) for url in config.urls if is_first]
        self._nccl: Any = None

    def start(self) -> None:
        for server in self._servers:
            try:
                server.check_health()
            except ServerError as fault:
                raise EngineError(f"{fault}; is it up, and was it started with VLLM_SERVER_DEV_MODE=1?") from fault
        if self._servers and self._over_nccl:
            from tsallis_run.engine.server.nccl import NcclSender

            self._nccl = NcclSender(self._servers)

    def look_up(self) -> Addresses:
        return self._addresses

    def load(self, weights: Weights, version: int) -> None:
        if not self._servers:
            _draw(weights)
        elif self._nccl is not None:
            self._nccl.send(weights, version)
        else:
            shared = SharedWeights(weights, version)
            with ThreadPoolExecutor(len(self._servers)) as threads:
                list(threads.map(lambda server: server.load(shared), self._servers))
            shared.close()

    def reset_cache(self) -> None:
        _reset_caches(self._servers)

    def close(self) -> None:
        self._addresses = Addresses((), ENDED)  # what is in flight breaks off
        if self._nccl is not None:
            self._nccl.close()


def own_workers(
    settings: Mapping[str, Any], config: VllmServerRollout, folder: Path, environment: Mapping[str, str]
) -> OwnWorkers:
    """The workers of this machine; `settings` are vLLM's for the model, logs and addresses are kept in `folder`."""
    num_gpus = torch.cuda.device_count()
    rank, ranks_here = int(environment.get("RANK", "0")), int(environment.get("LOCAL_WORLD_SIZE", "1"))
    machine = rank // ranks_here

    def start(worker: int, port: int) -> WorkerProcess:
        return WorkerProcess(
            worker_command(settings, config, port, on_gpu=num_gpus > 0),
            worker_environment(config, worker, environment, num_gpus=num_gpus),
            folder / f"worker-{machine * config.num_workers + worker}.log",
        )

    book = folder / f"addresses-{machine}.json"
    return OwnWorkers(start, config, book, is_keeper=environment.get("LOCAL_RANK", "0") == "0")


def _draw(weights: Weights) -> None:
    """To draw them is collective: under ZeRO-3 every rank gathers each of them."""
    for _ in weights:
        pass


def _reset_caches(servers: Sequence[Server]) -> None:
    for server in servers:
        try:
            server.reset_cache()
        except ServerError:
            continue  # a worker that is started again has nothing cached, another is found out when it is used
