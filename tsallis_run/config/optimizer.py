"""The optimizers: what each has of its own, and what all share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tsallis_run.config.part import Count, Number, Part, PositiveFloat, PositiveInt

Decay = Annotated[float, Number, Field(ge=0, lt=1)]
"""What is left behind a step of a running mean or sum."""


SMALLEST_EPSILON = 1e-30


def _not_lost(epsilon: float) -> float:
    if epsilon < SMALLEST_EPSILON:
        raise ValueError(f"must be at least {SMALLEST_EPSILON:g}; float32 loses what is smaller")
    return epsilon


class OptimizerPart(Part):
    """What every optimizer has: its rate and schedule, and how a batch is cut into micro-batches."""

    learning_rate: PositiveFloat
    weight_decay: Annotated[float, Number, Field(ge=0)]
    max_grad_norm: PositiveFloat | None
    schedule: Literal["constant", "linear", "cosine"]
    warmup_steps: Count
    micro_batch_tokens: PositiveInt
    max_skipped_steps: Count


class AdamWConfig(OptimizerPart):
    """AdamW: each weight's gradient over its own running size."""

    name: Literal["adamw"]
    betas: tuple[Decay, Decay]
    epsilon: Annotated[PositiveFloat, AfterValidator(_not_lost)]


class SgdConfig(OptimizerPart):
    """Gradient descent: the gradient as it is, or with momentum."""

    name: Literal["sgd"]
    momentum: Decay


OptimizerConfig = Annotated[AdamWConfig | SgdConfig, Field(discriminator="name")]
