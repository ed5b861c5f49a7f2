"""The linears of a model in vLLM on CPU machines: in oneDNN's packed layout, packed anew whenever weights are loaded.

vLLM by itself packs once and drops the weights, so that nothing can be loaded later. Decoding reads every weight for
every token, and is faster with packed ones: benchmarks/packed_linears.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from tsallis_run.engine.weights import check_complete

SHAPES_CACHED = 32
"""Numbers of rows for which a linear keeps oneDNN's plan of the product."""


def keep_linears_plain() -> None:
    """Has vLLM start with weights that can be loaded; before it builds a model."""
    from vllm import _custom_ops

    _custom_ops._supports_onednn = False


def load_in_place(model: Any, weights: Iterable[tuple[str, Tensor]]) -> None:
    """vLLM's own loading into a model that runs, between unpacking and packing on a CPU machine.

    Raises:
        UserError: where some weight of the model was not among them.
    """
    linears = [] if torch.cuda.is_available() else _linears(model)
    for linear in linears:
        linear.weight.untyped_storage().resize_(linear.weight.nbytes)
    loaded = model.load_weights(weights)
    check_complete((name for name, _ in model.named_parameters()), loaded)
    for linear in linears:
        _pack(linear)
        linear.weight.untyped_storage().resize_(0)  # held in memory once, as packed


def _linears(model: Any) -> list[Any]:
    from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod

    if not hasattr(torch.ops._C, "create_onednn_mm_handler"):
        return []
    return [
        layer
        for layer in model.modules()
        if isinstance(layer, LinearBase)
        and isinstance(layer.quant_method, UnquantizedLinearMethod)
        and not getattr(layer, "_cpu_skip_gemm_dispatch", False)  # its weight is read by others
    ]


def _pack(linear: Any) -> None:
    from vllm import _custom_ops

    packed = _custom_ops.create_onednn_mm(linear.weight.t(), SHAPES_CACHED)
    linear.cpu_linear = lambda x, weight, bias: _custom_ops.onednn_mm(packed, x, bias)
