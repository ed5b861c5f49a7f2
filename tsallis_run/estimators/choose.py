"""From the configuration to an estimator with one signature for all: the only place that knows which one runs."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from tsallis_run.config import EstimatorConfig, GarlConfig, PaftConfig, RewardConfig
from tsallis_run.estimators.garl import garl
from tsallis_run.estimators.log_weights import LogWeights, Q
from tsallis_run.estimators.paft import paft
from tsallis_run.estimators.reward import reward
from tsallis_run.types import Coefficients


@runtime_checkable
class Estimator(Protocol):
    """Turns one number per rollout into coefficients.

    The signal is log p(y*|x,z) for GARL and PAFT, and the rewards of sampled answers for the reward-based ones.
    """

    def __call__(
        self, signal: Float[Tensor, "prompts rollouts"], generator: torch.Generator, log_ratio: LogWeights | None
    ) -> Coefficients:
        """`generator` is the source of every random draw; most estimators need none.

        `log_ratio` is the truncated importance ratio of what was sampled (the rationale, and the answer where the
        signal is its reward), in nats; None where it needs no correction.
        """
        ...


def estimator_for(config: EstimatorConfig, q: Q | None) -> Estimator:
    """Returns the estimator that the configuration describes.

    Args:
        q: Tsallis q; None for an estimator that uses none.
    """
    match config:
        case GarlConfig():
            return _garl(config, q)
        case PaftConfig():
            return _paft(config, q)
        case RewardConfig():
            return _reward(config, q)


def _garl(config: GarlConfig, q: Q | None) -> Estimator:
    assert q is not None, "GARL needs q"
    return lambda signal, generator, log_ratio: garl(
        signal,
        q=q,
        baseline=config.baseline,
        jackknife=config.jackknife,
        normalize=config.normalize,
        answer_term=config.answer_term,
        log_ratio=log_ratio,
    )


def _paft(config: PaftConfig, q: Q | None) -> Estimator:
    assert q is not None, "PAFT needs q"
    return lambda signal, generator, log_ratio: paft(
        signal,
        q=q,
        num_resamples=config.num_resamples or signal.shape[-1],
        normalize=config.normalize,
        generator=generator,
        log_ratio=log_ratio,
    )


def _reward(config: RewardConfig, q: Q | None) -> Estimator:
    assert q is not None or config.scale != "mean^q", "rewards over mean^q need q"
    exponent = 0.0 if q is None else q  # no other scale looks at it

    def estimate(signal: LogWeights, generator: torch.Generator, log_ratio: LogWeights | None) -> Coefficients:
        own = reward(signal, q=exponent, baseline=config.baseline, scale=config.scale, epsilon=config.epsilon)
        ratio = torch.ones_like(signal) if log_ratio is None else log_ratio.exp()
        return Coefficients(own.rationale * ratio, own.answer * ratio)

    return estimate
