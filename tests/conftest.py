"""Settings of every test: one thread, no network, shape annotations checked."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from jaxtyping import install_import_hook

# Before torch and the Hugging Face libraries are imported, which read these once. Child processes inherit them.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # with more, processes that share few cores wait for each other
os.environ.update(
    {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "VLLM_NO_USAGE_STATS": "1",
    }
)

install_import_hook("tsallis_run", "beartype.beartype")


@pytest.fixture(autouse=True)
def _leave_no_rank_behind() -> Iterator[None]:
    """Joining a process group puts a rank into the environment: a later test's run would take itself for a rank.

    LOCAL_RANK stays: DeepSpeed asks for it, also where the process group is already there.
    """
    yield
    os.environ.pop("RANK", None)
    os.environ.pop("WORLD_SIZE", None)


@pytest.fixture(autouse=True)
def _hold_no_signal_back() -> Iterator[None]:
    """A training in the test's own process holds signals back, and what later tests start would inherit that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
