"""torch's optimizers, and what each keeps between steps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from tsallis_run.config import AdamWConfig, OptimizerConfig

SMALLEST_EXACT_SQUARE = torch.finfo(torch.float32).tiny


def build_optimizer(weights: Iterable[Tensor], config: OptimizerConfig) -> Optimizer:
    """The optimizer that the configuration describes."""
    shared: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": True}
    if not isinstance(config, AdamWConfig):
        return SGD(weights, momentum=config.momentum, **shared)
    scale = gradient_scale(config.epsilon)
    adamw: Any = AdamW(weights, betas=config.betas, eps=scale * config.epsilon, **shared)
    if scale > 1:
        adamw.grad_scale = torch.tensor(1 / scale)  # the fused step divides gradients by it
    return cast(AdamW, adamw)


def gradient_scale(epsilon: float) -> float:
    """Factor, a power of two, of both gradient and epsilon: it changes no step of AdamW but those that it saves.

    float32 has no exact square of a gradient below 1e-19. Under a smaller epsilon such a weight would jump by the
    gradient over epsilon, 1e7 learning rates for 1e-23 over 1e-30. Scaled, epsilon stands where squares are exact.
    """
    return 2.0 ** max(0, math.ceil(math.log2(SMALLEST_EXACT_SQUARE**0.5 / epsilon)))


def moments(optimizer: Optimizer) -> tuple[str, ...]:
    """What it keeps of each weight behind its first step, by its own names: tensors of the weight's shape."""
    if isinstance(optimizer, AdamW):
        return ("exp_avg", "exp_avg_sq")
    return ("momentum_buffer",) if optimizer.defaults["momentum"] else ()


def make_moments(optimizer: Optimizer, weight: Tensor, num_steps: int) -> None:
    """Gives a weight the state that it has behind `num_steps` steps; the values of its moments come after."""
    state = {kind: torch.zeros_like(weight) for kind in moments(optimizer)}
    if isinstance(optimizer, AdamW):
        state["step"] = torch.tensor(float(num_steps), device=weight.device)
    optimizer.state[weight] = state
