"""What the ranks find in their environment."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from tsallis_run.config import RunConfig

KEEP_MEMORY = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184"
"""On CPU machines a step asks for gigabytes: glibc keeps what is freed for the next one, and takes it in huge pages."""


def child_environment(config: RunConfig, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` with what the ranks need: their share of the cores, quiet libraries, the user's command."""
    return {
        **environment,
        "OMP_NUM_THREADS": str(_threads_per_process(config, environment)),
        "GLIBC_TUNABLES": environment.get("GLIBC_TUNABLES", KEEP_MEMORY),
        "TOKENIZERS_PARALLELISM": "false",
        "WANDB_SILENT": "true",
        "VLLM_LOGGING_LEVEL": environment.get("VLLM_LOGGING_LEVEL", "ERROR"),
        "TORCH_CPP_LOG_LEVEL": environment.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
        "TSALLIS_RUN_COMMAND": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _threads_per_process(config: RunConfig, environment: Mapping[str, str]) -> int:
    wanted = config.launch.threads_per_process or int(environment.get("OMP_NUM_THREADS") or 0)
    return wanted or max(1, _num_cores() // config.launch.num_processes)


def _num_cores() -> int:
    """Those this process may use, where the system tells: a cluster gives a job fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
