"""Inside a worker: a backend of vLLM's weight transfer that takes the weights from shared memory.

vLLM imports this module in every process that holds a part of the model, ahead of building it, because it is told
`--worker-extension-cls tsallis_run.engine.server.weight_transfer.SharedMemoryExtension`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

from tsallis_run.engine.packed_linears import keep_linears_plain, load_in_place
from tsallis_run.engine.server.shared_weights import read_shared_weights

BACKEND = "shared_memory"


class SharedMemoryExtension:
    """Adds nothing to the worker: naming it is what has this module imported."""


@dataclass
class Nothing(WeightTransferInitInfo):
    """The backend has no meeting to arrange."""


@dataclass
class Announcement(WeightTransferUpdateInfo):
    """What a worker is told of new weights."""

    path: str
    """Of the shared memory; see `SharedWeights.path`."""
    version: int


class SharedMemoryWeightTransfer(WeightTransferEngine[Nothing, Announcement]):
    """Loads every weight in place, as the engine in the training process does."""

    init_info_cls = Nothing
    update_info_cls = Announcement

    def init_transfer_engine(self, init_info: Nothing) -> None:
        """Nothing to do."""

    def start_weight_update(self) -> None:
        """Nothing to do: the weights are loaded in place."""

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Loads what was announced."""
        self.receive_weights(self.parse_update_info(update_info))

    @torch.no_grad()
    def receive_weights(self, update_info: Announcement) -> None:
        """Loads every weight.

        Raises:
            UserError: where some weight of the model was not among them.
        """
        load_in_place(self.model, read_shared_weights(update_info.path, update_info.version))
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def finish_weight_update(self) -> None:
        """Nothing to do."""

    def shutdown(self) -> None:
        """Nothing is held."""


WeightTransferEngineFactory.register_engine(BACKEND, SharedMemoryWeightTransfer)
if not torch.cuda.is_available():
    keep_linears_plain()
