"""Weights to running servers on other machines, over vLLM's own NCCL backend.

Not run here: it needs GPUs on two machines. It is written against vLLM 0.32's nccl_engine.py and nccl_common.py: the
worker's side is `NCCLWeightTransferEngine`, unpacked; this is the sender's side. vLLM's own sender is not used, for it
wants every weight's name and shape ahead of the first: here they come one by one, gathered from all ranks, and go in
chunks, each one update of its own between one start and one finish.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor

from tsallis_run.engine.server.control import Server

CHUNK_BYTES = 1 << 30
"""Of weights that are gathered before they are sent: what the sender's GPU holds besides its own."""


class NcclSender:
    """The first rank's end: number 0 of a group in which every device of every server has a number."""

    def __init__(self, servers: Sequence[Server]) -> None:
        """Meets the servers, which must have been started with `--weight-transfer-config '{"backend": "nccl"}'`."""
        from vllm.distributed.weight_transfer.nccl_common import trainer_init

        self._servers = servers
        self._threads = ThreadPoolExecutor(max_workers=len(servers), thread_name_prefix="nccl")
        num_devices = [server.num_devices() for server in servers]
        address, port = _meeting_place(servers[0].url)
        meeting = {"master_address": address, "master_port": port, "world_size": 1 + sum(num_devices)}
        calls = [
            self._threads.submit(server.init_transfer, {**meeting, "rank_offset": 1 + sum(num_devices[:i])})
            for i, server in enumerate(servers)
        ]
        self._group = trainer_init(meeting)  # returns once all have come
        for call in calls:
            call.result()

    def send(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Brings every weight to every server.

        Raises:
            ServerError: where one does not take them; the group is of no use any more then.
        """
        for server in self._servers:
            server.begin_update()
        for chunk in _chunks(weights):
            self._send_chunk(chunk)
        for server in self._servers:
            server.end_update(version)

    def close(self) -> None:
        """Leaves the group; a call that hangs in it is not waited for."""
        self._threads.shutdown(wait=False)
        self._group.destroy()

    def _send_chunk(self, chunk: Sequence[tuple[str, Tensor]]) -> None:
        """The servers wait for the broadcasts inside their call: both must run at once.

        The broadcasts are only queued on the GPU; the calls are waited for before the GPU is, because a call has a time
        limit and a broadcast to a server that is gone has none.
        """
        announcement: dict[str, Any] = {
            "names": [name for name, _ in chunk],
            "dtype_names": [str(weight.dtype).removeprefix("torch.") for _, weight in chunk],
            "shapes": [list(weight.shape) for _, weight in chunk],
        }
        calls = [self._threads.submit(server.update, announcement) for server in self._servers]
        stream = torch.cuda.current_stream()
        for _, weight in chunk:
            self._group.broadcast(weight, src=0, stream=stream)
        for call in calls:
            call.result()
        stream.synchronize()


def _meeting_place(url: str) -> tuple[str, int]:
    """This machine's address on the way to a server, and a free port there."""
    server = urlsplit(url)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        route.connect((server.hostname, server.port or 80))  # sends nothing
        address: str = route.getsockname()[0]
    with socket.socket() as taken:
        taken.bind((address, 0))
        port: int = taken.getsockname()[1]
    return address, port


def _chunks(weights: Iterable[tuple[str, Tensor]]) -> Iterator[list[tuple[str, Tensor]]]:
    chunk: list[tuple[str, Tensor]] = []
    size = 0
    for name, weight in weights:
        chunk.append((name, weight.detach().cuda().contiguous()))
        size += weight.nbytes
        if size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
