"""The learning rate over the steps."""

from __future__ import annotations

import math

from tsallis_run.config import OptimizerConfig


def learning_rate_at(step: int, config: OptimizerConfig, total_steps: int) -> float:
    """The learning rate of a step (from 0): linear warm-up, then the schedule down to 0.

    It goes by the run's step alone: one that was left out does not hold it back, and a resumed run needs no memory.
    """
    return config.learning_rate * _factor(step, config, total_steps)


def _factor(step: int, config: OptimizerConfig, total_steps: int) -> float:
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(total_steps - config.warmup_steps, 1)
    if config.schedule == "linear":
        return max(1.0 - progress, 0.0)
    if config.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    return 1.0
