"""What an optimizer step moves, as whole tensors by name: the same at every ZeRO stage and number of ranks.

DeepSpeed's own checkpoints hold each rank's partition as a pickle and are opened by the same number of ranks at the
same stage. Here every float32 weight and the optimizer's moments are gathered whole, one at a time, so that the next
run cuts them as it likes: float32 values are copied, never computed, and come back to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import deepspeed
import torch
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)
from torch import Tensor

from tsallis_run.policy.optimizer import make_moments, moments

WEIGHT = "weight"

NamedWeights = Iterable[tuple[str, Tensor]]


@torch.no_grad()
def gathered(engine: Any, weights: NamedWeights, *, num_steps: int) -> Iterator[tuple[str, Tensor]]:
    """Every weight in float32 and its moments behind `num_steps` optimizer steps, whole on every rank; collective.

    Yields:
        `weight/NAME`, then `MOMENT/NAME` for each of the optimizer's `moments`; before the first step there are none.
    """
    kinds = _kinds(engine, num_steps)
    for name, weight in weights:
        for kind in kinds:
            yield f"{kind}/{name}", _whole(engine, weight, kind)


@torch.no_grad()
def restore(engine: Any, weights: NamedWeights, read: Callable[[str], Tensor], *, num_steps: int) -> None:
    """Puts back what `gathered` gave; `num_steps` optimizer steps lie behind it. Collective."""
    if num_steps > 0:
        _make_moments(engine, num_steps)
    kinds = _kinds(engine, num_steps)
    for name, weight in weights:
        for kind in kinds:
            _set_whole(engine, weight, kind, read(f"{kind}/{name}").to(engine.device))


def _kinds(engine: Any, num_steps: int) -> tuple[str, ...]:
    """What is kept of each weight."""
    return (WEIGHT, *moments(engine.basic_optimizer)) if num_steps > 0 else (WEIGHT,)


def _whole(engine: Any, weight: Tensor, kind: str) -> Tensor:
    if not engine.zero_optimization():
        value: Tensor = weight if kind == WEIGHT else engine.basic_optimizer.state[weight][kind]
    elif kind == WEIGHT:
        value = safe_get_full_fp32_param(weight)
    else:
        value = safe_get_full_optimizer_state(weight, kind)
    return value.detach()


def _set_whole(engine: Any, weight: Tensor, kind: str, value: Tensor) -> None:
    if kind == WEIGHT:  # the copy that the forward pass uses; at stages 1 to 3 the optimizer has a float32 one besides
        with deepspeed.zero.GatheredParameters([weight], modifier_rank=0, enabled=hasattr(weight, "ds_id")):
            weight.copy_(value)
    if not engine.zero_optimization():
        if kind != WEIGHT:
            engine.basic_optimizer.state[weight][kind].copy_(value)
    elif hasattr(weight, "ds_id"):
        _set_own_part(weight, kind, value)
    elif kind == WEIGHT:
        safe_set_full_fp32_param(weight, value)
    else:
        safe_set_full_optimizer_state(weight, value, kind)


def _set_own_part(weight: Any, kind: str, value: Tensor) -> None:
    """At stage 3; DeepSpeed's setter of whole values does not know the padding behind the last rank's part."""
    size, rank = weight.ds_tensor.numel(), torch.distributed.get_rank()
    padding = size * torch.distributed.get_world_size() - value.numel()
    part = torch.nn.functional.pad(value.flatten(), (0, padding)).narrow(0, size * rank, size)
    if kind == WEIGHT:
        safe_set_local_fp32_param(weight, part)
    else:
        safe_set_local_optimizer_state(weight, part, kind)


def _make_moments(engine: Any, num_steps: int) -> None:
    """The state that the optimizer makes at its first step, as it stands behind `num_steps`; its values come after."""
    for master in _masters(engine):
        make_moments(engine.basic_optimizer, master, num_steps)
    if link := getattr(engine.optimizer, "_lazy_init_hp_params_optimizer_state", None):
        link()  # what DeepSpeed does behind its first step at stages 1 and 2: the setters above go by these links


def _masters(engine: Any) -> list[Tensor]:
    """The tensors that the optimizer steps on: whole weights at stage 0, else flat float32 parts of this rank."""
    for name in ("single_partition_of_fp32_groups", "fp32_groups_flat_partition", "fp32_partitioned_groups_flat"):
        if hasattr(engine.optimizer, name):
            return list(getattr(engine.optimizer, name))
    return [weight for group in engine.basic_optimizer.param_groups for weight in group["params"]]
