"""Every weight at one moment, in memory that the processes of a machine share.

The memory is a file without a name (memfd): it needs no room in /dev/shm, others of the same user open it through the
writer's /proc entry, and it is gone as soon as the last process that uses it is, however that ends.

Layout: the tensors one behind the other, an index of them as JSON, and the index's length as 8 bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from io import BufferedWriter
from pathlib import Path

import torch
from torch import Tensor

ALIGNMENT_BYTES = 64
"""Of the tensors: as any kernel wants them."""
LENGTH_BYTES = 8


class SharedWeights:
    """Written once, never changed, until closed; a worker that died takes them again."""

    def __init__(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        self.version = version
        descriptor = os.memfd_create("tsallis-run-weights")
        self.path = f"/proc/{os.getpid()}/fd/{descriptor}"
        """Where other processes of this user find them."""
        self._file = os.fdopen(descriptor, "wb")
        index = [(name, *_write_tensor(self._file, weight)) for name, weight in weights]
        trailer = json.dumps({"version": version, "weights": index}).encode()
        self._file.write(trailer + len(trailer).to_bytes(LENGTH_BYTES, "little"))
        self._file.flush()

    def close(self) -> None:
        """Gives the memory back, as far as nobody is reading."""
        self._file.close()


def read_shared_weights(path: str, version: int) -> Iterator[tuple[str, Tensor]]:
    """Every weight with its name, as views of the shared memory.

    Raises:
        ValueError: where the weights are not of that version.
    """
    content = torch.from_file(path, shared=False, size=Path(path).stat().st_size, dtype=torch.uint8)
    length = int.from_bytes(_bytes(content[-LENGTH_BYTES:]), "little")
    trailer = json.loads(_bytes(content[-LENGTH_BYTES - length : -LENGTH_BYTES]))
    if trailer["version"] != version:
        raise ValueError(f"the shared weights are of version {trailer['version']}, version {version} was announced")
    for name, dtype, shape, start, end in trailer["weights"]:
        yield name, content[start:end].view(getattr(torch, dtype)).view(shape)


def _write_tensor(file: BufferedWriter, weight: Tensor) -> tuple[str, list[int], int, int]:
    """Appends a tensor; returns its dtype, its shape, and where in the file it begins and ends."""
    file.write(b"\0" * (-file.tell() % ALIGNMENT_BYTES))
    start = file.tell()
    content = weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    file.write(content.data)
    return str(weight.dtype).removeprefix("torch."), list(weight.shape), start, file.tell()


def _bytes(content: Tensor) -> bytes:
    return content.numpy().tobytes()
