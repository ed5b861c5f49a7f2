"""The processes of a run: one, or several that take every collective call together and in the same order."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
import torch.distributed as dist

from tsallis_run.types import DiskError, EngineError, GaveUpError, UserError

T = TypeVar("T")


@runtime_checkable
class Sliceable(Protocol):
    """A sequence, or a tensor by its first axis."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Any: ...


S = TypeVar("S", bound=Sliceable)


PATIENCE_SECONDS = 1800
"""How long a rank waits for another where neither waits for an engine: torch's own limit."""


def join(patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Enters the process group; one process needs no launcher, it is rank 0 of 1.

    Call it before vLLM is built: a process group of vLLM's own would be taken for the run's.
    `patience_seconds` is longer than anything for which one rank may wait for another.
    """
    if dist.is_initialized():
        return
    os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed asks for it, also of a process that stands alone
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    patience = timedelta(seconds=patience_seconds)
    if "RANK" in os.environ:
        _let_gloo_leave_the_machine()
        dist.init_process_group(backend, timeout=patience)
    else:
        alone = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group(backend, timeout=patience, store=alone, rank=0, world_size=1)


def check_size(expected: int) -> None:
    """Two ranks that each took a group of size 1 would train apart, with no error."""
    assert size() == expected, f"{size()} processes joined, {expected} were launched"


def lost_contact(error: Exception) -> bool:
    """True for a fault of the connection between ranks: most often another rank has died of a fault of its own."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def size() -> int:
    """Number of processes; 1 before they joined."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """True on the rank that writes the records."""
    return rank() == 0


def share(items: S) -> S:
    """This rank's consecutive part of what all ranks hold alike."""
    if size() == 1:
        return items
    rank, ranks = dist.get_rank(), size()
    part: S = items[len(items) * rank // ranks : len(items) * (rank + 1) // ranks]
    return part


def gathered(items: Sequence[T]) -> list[T]:
    """The items of all ranks, in rank order: undoes `share`."""
    if size() == 1:
        return list(items)
    parts: list[Any] = [None] * size()
    dist.all_gather_object(parts, list(items))
    return [item for part in parts for item in part]


def largest(value: float) -> float:
    """The largest of all ranks' values."""
    return _reduced(value, dist.ReduceOp.MAX)


def total(value: float) -> float:
    """The sum of all ranks' values."""
    return _reduced(value, dist.ReduceOp.SUM)


def agreed(call: Callable[[], T]) -> T:
    """What `call` returns here, once all ranks have succeeded: one that ended alone would leave the others waiting.

    Raises:
        UserError: on every rank, where any found a mistake; with its message on the first alone, which tells it once.
        GaveUpError: on every rank, where an engine failed on any.
        DiskError: on every rank, where the disk failed any.
    """
    results: list[T] = []
    faults: list[UserError | EngineError | OSError] = []
    try:
        results = [call()]
    except (UserError, EngineError, OSError) as error:
        faults = [error]
    for fault in gathered(faults):
        if isinstance(fault, UserError):
            raise UserError(str(fault) if is_first() else "") from fault
        raise DiskError(str(fault)) if isinstance(fault, OSError) else GaveUpError(str(fault))
    return results[0]


def decided(call: Callable[[], T]) -> T:
    """What `call` returns on the first rank, which decides for all; raises as `agreed`."""
    (result,) = gathered(agreed(lambda: [call()] if is_first() else []))
    return result


def wait_for_all() -> None:
    """Returns once every rank is here."""
    if size() > 1:
        dist.barrier()


def _let_gloo_leave_the_machine() -> None:
    """Binds gloo to the network on which the ranks meet, where they are on several machines.

    It would take the one of the host's name, which many systems give the loopback address.
    """
    import psutil  # type: ignore[import-untyped]

    if os.environ.get("LOCAL_WORLD_SIZE") in (None, os.environ["WORLD_SIZE"]) or "GLOO_SOCKET_IFNAME" in os.environ:
        return
    family, kind, *_, meeting_place = socket.getaddrinfo(os.environ["MASTER_ADDR"], 1, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as one:
        one.connect(meeting_place)  # sends nothing, but chooses the way
        address = one.getsockname()[0]
    for name, addresses in psutil.net_if_addrs().items():
        if name != "lo" and address in {known.address for known in addresses}:
            os.environ["GLOO_SOCKET_IFNAME"] = name


def _reduced(value: float, operation: Any) -> float:
    if size() == 1:
        return value
    tensor = torch.tensor(value, dtype=torch.float64)  # on the CPU: gloo is always there
    dist.all_reduce(tensor, operation)
    return float(tensor)
