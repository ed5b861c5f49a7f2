"""Attention over packed trees: every stretch over the keys that it may see, by torch's own kernels.

Transformers' models call it in every layer, by the name under which it is registered here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from tsallis_run.packing import NO_TOKEN, MicroBatch, Stretches

NAME = "packed_trees"


@dataclass(frozen=True)
class Rows:
    """The stretches of one shape, ready for every layer."""

    queries: Int[Tensor, "stretches queries"]
    keys: Int[Tensor, "stretches keys"]
    visible: Bool[Tensor, "stretches 1 queries keys"] | None
    """None where a row sees itself, token by token, and nothing else: a trunk."""


@dataclass(frozen=True)
class Packed:
    """What attention has to know of a micro-batch."""

    rows: tuple[Rows, ...]
    place: Int[Tensor, " tokens"]


def packed(batch: MicroBatch) -> Packed:
    """Prepares a micro-batch, once for all layers."""
    return Packed(tuple(_rows(stretches, batch) for stretches in batch.stretches), batch.place)


def packed_attention(
    module: nn.Module,
    query: Float[Tensor, "1 heads tokens channels"],
    key: Float[Tensor, "1 key_heads tokens channels"],
    value: Float[Tensor, "1 key_heads tokens channels"],
    attention_mask: None,
    *,
    packed: Packed,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "1 tokens heads channels"], None]:
    """Equal, up to rounding, to attention over every sequence of the trees by itself."""
    asking, seen, told = (projected[0].transpose(0, 1) for projected in (query, key, value))
    outputs = []
    for rows in packed.rows:
        q, k, v = _taken(asking, rows.queries), _taken(seen, rows.keys), _taken(told, rows.keys)
        if rows.visible is not None and q.is_cuda:  # no kernel of CUDA takes both a mask and shared heads of keys
            k, v = (heads.repeat_interleave(q.shape[1] // k.shape[1], 1) for heads in (k, v))
        output = F.scaled_dot_product_attention(
            q, k, v, attn_mask=rows.visible, is_causal=rows.visible is None, scale=scaling, enable_gqa=True
        )
        outputs.append(output.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs).index_select(0, packed.place)[None], None


def _rows(stretches: Stretches, batch: MicroBatch) -> Rows:
    queries, keys = stretches.queries, stretches.keys
    if queries.shape == keys.shape:
        return Rows(queries, keys.clamp(min=0), None)
    asking, seen = batch.span[queries][:, :, None], batch.span[keys][:, None, :]
    earlier = keys[:, None, :] <= queries[:, :, None]
    visible = batch.ancestors[asking, seen] & earlier & (keys != NO_TOKEN)[:, None, :]
    return Rows(queries, keys.clamp(min=0), visible[:, None])


def _taken(
    projected: Float[Tensor, "tokens heads channels"], indices: Int[Tensor, "rows columns"]
) -> Float[Tensor, "rows heads columns channels"]:
    taken: Tensor = projected.index_select(0, indices.flatten()).unflatten(0, indices.shape)
    return taken.transpose(1, 2)


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)  # the rows say what is visible
