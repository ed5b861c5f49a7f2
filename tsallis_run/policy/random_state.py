"""The random generators of this process: Python's, numpy's, torch's on the CPU and on its GPU.

Samples and draws have seeds of their own, of which none of these is the source; a resumed run puts them back all the
same, so that whatever else draws (a library, a layer of a new model) goes on as it would have.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch


def save_random_state(file: Path) -> None:
    """Writes the state of every generator as JSON."""
    _, keys, position, has_gauss, gauss = np.random.get_state()
    state = {
        "python": random.getstate(),
        "numpy": [[int(key) for key in keys], int(position), int(has_gauss), float(gauss)],
        "torch": _hex(torch.get_rng_state()),
        "cuda": _hex(torch.cuda.get_rng_state()) if torch.cuda.is_available() else None,
    }
    file.write_text(json.dumps(state), encoding="utf-8")


def restore_random_state(file: Path) -> None:
    """Puts back what `save_random_state` wrote; without the file (there were fewer ranks), nothing."""
    if not file.is_file():
        return
    state: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    np.random.set_state(("MT19937", np.array(state["numpy"][0], dtype=np.uint32), *state["numpy"][1:]))
    torch.set_rng_state(_tensor(state["torch"]))
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(_tensor(state["cuda"]))


def _hex(state: torch.Tensor) -> str:
    return bytes(state.tolist()).hex()


def _tensor(text: str) -> torch.Tensor:
    return torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8)
