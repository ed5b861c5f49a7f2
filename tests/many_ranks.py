"""A test module run as N ranks on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

TESTS = Path(__file__).parent


def run_ranks(module: str, num_ranks: int, file: Path) -> dict[str, Tensor]:
    """Runs `python -m module file` as ranks and returns what the first of them wrote to `file`."""
    shared = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]),
        "WORLD_SIZE": str(num_ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", module, str(file)], env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        )
        for rank in range(num_ranks)
    ]
    try:
        assert [process.wait(timeout=300) for process in processes] == [0] * num_ranks
    finally:
        for process in processes:
            process.kill()
    found: dict[str, Tensor] = torch.load(file, weights_only=True)
    return found


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
