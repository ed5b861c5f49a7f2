"""Coefficients times token log-probs, over a normaliser -> a scalar. It knows no estimator."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tsallis_run.config import LossConfig


def policy_loss(
    log_probs: Float[Tensor, " scored"], coefficients: Float[Tensor, " scored"], *, num_prompts: int
) -> Float[Tensor, ""]:
    """Returns the pseudo-loss whose gradient is the estimator's: -sum c_t log p_t / num_prompts.

    A batch makes one optimizer step. On-policy the ratio p/p_behaviour is identically 1 and so is its clipped form: the
    score-function gradient alone is exact, for GRPO too. Rollouts of older weights bring their truncated ratio, a
    constant, in the coefficients. There is no KL term.

    Args:
        log_probs: log p of each scored token, in nats, attached to the graph.
        coefficients: constants; no gradient passes through them.
        num_prompts: prompts of the global batch, counted before it was cut into micro-batches.
    """
    return -(coefficients.detach().to(log_probs) * log_probs).sum() / num_prompts


def length_scale(
    num_tokens: Float[Tensor, "prompts rollouts"], config: LossConfig, *, mean_tokens: float
) -> Float[Tensor, "prompts rollouts"]:
    """What the coefficients of reward-based estimators are multiplied by.

    The configuration guarantees `none` for GARL and PAFT, whose w is the probability of the whole answer.

    Args:
        num_tokens: sampled tokens of each rollout, rationale and answer.
        mean_tokens: their mean over the global batch.

    Returns:
        none: 1. sequence: 1/|o_m|, the mean over each rollout's tokens (GRPO as published,
        arXiv:2402.03300v3, eq. 3). token: 1/mean|o|, the token sum over all sampled tokens of the global
        batch (DAPO, arXiv:2503.14476v1, eq. 8).
    """
    match config.length_normalization:
        case "none":
            return torch.ones_like(num_tokens)
        case "sequence":
            return num_tokens.clamp(min=1).reciprocal()
        case "token":
            return torch.full_like(num_tokens, 1 / max(mean_tokens, 1))
