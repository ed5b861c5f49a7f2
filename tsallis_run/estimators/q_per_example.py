"""q of each example, from what was last seen of its success probability."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tsallis_run.config import QPerExample
from tsallis_run.estimators.log_weights import LogWeights, log_mean

LEAST_LOG_P = -sys.float_info.max
"""Stands for a group without mass: q is 1 there, and it can be written as JSON."""


def q_of(last_log_p: Sequence[float | None], config: QPerExample) -> Float[Tensor, "prompts 1"]:
    """The smallest q in [0, 1] with P^(1-q) >= floor: q = 1 - log(floor) / log(P), at least 0.

    So the gradient of fine-tuning (q = 1) is attenuated by `floor` at most, however small P is, and an example with
    P >= floor is trained for expected exact match (q = 0).

    Args:
        last_log_p: log of the estimate of P at each example's last visit, in nats; None at first sight, where q is
            `prior`. Never of this step: the baseline would depend on the rollout that it is to be independent of.

    Source: not in arXiv:2604.25907v1; the attenuation is the second factorisation of its eq. 5.
    """
    return torch.tensor([[_q(log_p, config)] for log_p in last_log_p], dtype=torch.float64).reshape(-1, 1)


def _q(log_p: float | None, config: QPerExample) -> float:
    if log_p is None:
        return config.prior
    log_floor = math.log(config.floor)
    return 0.0 if log_p >= log_floor else 1 - log_floor / log_p


def remembered(before: Mapping[str, float], ids: Sequence[str], log_w: LogWeights) -> dict[str, float]:
    """The estimates of log P by example id, with those of a step's prompts: log wbar of each, in nats.

    Args:
        ids: of the prompts.
        log_w: log p(y*|x,z) of their rollouts, with the log of the importance ratio where there is one.
    """
    log_p = log_mean(log_w).squeeze(-1).clamp(min=LEAST_LOG_P)
    return {**before, **dict(zip(ids, log_p.tolist(), strict=True))}
