"""A worker as the process that starts it sees it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tsallis_run.config import VllmServerRollout
from tsallis_run.engine.server.worker import kill_session
from tsallis_run.engine.vllm_settings import environment_settings
from tsallis_run.types import UserError

LOG_LINES = 40
"""Of a worker's log, told with its fault."""
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""A worker is no rank of the run: its own processes must not take themselves for one."""


class WorkerProcess:
    """One process with all that it starts, in a session of its own: signals to the run do not reach it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.PIPE,  # closes with this process; see `worker`
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the server; what it started is in the session of that number."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; minus the number of the signal that killed it."""
        return self._process.poll()

    @property
    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    def kill(self) -> None:
        """Ends it and all that it started, also where it is stopped or hangs."""
        assert self._process.stdin is not None
        if self._process.stdin.closed:
            return  # once and for all: the number of its session may by now be another's
        kill_session(self.pid)
        self._process.wait()
        self._process.stdin.close()


def worker_command(settings: Mapping[str, Any], config: VllmServerRollout, port: int, *, on_gpu: bool) -> list[str]:
    """The command line of a worker; `settings` are vLLM's for the model.

    On a CPU machine a server is two processes where one worker process is enough: vLLM would start a third for the
    sake of binding threads to cores, which is off.
    """
    own: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "disable_uvicorn_access_log": True,
        "disable_log_stats": True,
        "weight_transfer_config": json.dumps({"backend": "shared_memory"}),
        "worker_extension_cls": "tsallis_run.engine.server.weight_transfer.SharedMemoryExtension",
    }
    if _is_single(config, on_gpu=on_gpu):
        own["distributed_executor_backend"] = "uni"
    return [sys.executable, "-m", "tsallis_run.engine.server.worker", *_flags({**settings, **own})]


def worker_environment(
    config: VllmServerRollout, worker: int, environment: Mapping[str, str], *, num_gpus: int
) -> dict[str, str]:
    """A worker's environment: this process's without its rank, its own GPUs, and vLLM's calls for training.

    Raises:
        UserError: where the machine has too few GPUs.
    """
    kept = {name: value for name, value in environment.items() if name not in RANK_VARIABLES}
    forced = {
        "VLLM_SERVER_DEV_MODE": "1",  # has the calls for training
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0" if _is_single(config, on_gpu=num_gpus > 0) else "1",
        "DO_NOT_TRACK": "1",
    }
    if num_gpus:
        forced["CUDA_VISIBLE_DEVICES"] = ",".join(_devices(config, worker, environment, num_gpus))
    return {**environment_settings(config, on_gpu=num_gpus > 0), **kept, **forced}


def free_port() -> int:
    """A port of this machine that nothing uses; in the seconds until the worker takes it, another may."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _is_single(config: VllmServerRollout, *, on_gpu: bool) -> bool:
    return not on_gpu and config.tensor_parallel_size == 1


def _devices(config: VllmServerRollout, worker: int, environment: Mapping[str, str], num_gpus: int) -> list[str]:
    """The GPUs of a worker, by the names under which this process was given them."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(num_gpus)]
    ranks_here = int(environment.get("LOCAL_WORLD_SIZE", "1"))
    first_device = ranks_here if config.first_device is None else config.first_device
    end = first_device + config.num_workers * config.tensor_parallel_size
    if end > len(names):
        raise UserError(
            f"rollout.num_workers: must fit the GPUs from rollout.first_device={first_device} on "
            f"({len(names)} on this machine), got {config.num_workers} workers of "
            f"rollout.tensor_parallel_size={config.tensor_parallel_size}; take fewer, or fewer launch.num_processes"
        )
    first = first_device + worker * config.tensor_parallel_size
    return names[first : first + config.tensor_parallel_size]


def _flags(settings: Mapping[str, Any]) -> list[str]:
    flags = []
    for name, value in settings.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{option}" if value else f"--no-{option}")
        else:
            flags += [f"--{option}", str(value)]
    return flags
