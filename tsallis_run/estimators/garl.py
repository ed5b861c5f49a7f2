"""GARL: rationales sampled from the prior p(z|x), the gradient amplified by P^-q."""

from __future__ import annotations

import torch
from torch import Tensor

from tsallis_run.estimators.log_weights import (
    LogWeights,
    Q,
    as_order,
    diagonal_like,
    has_mass,
    log_mean,
    log_mean_of_others,
    log_power,
    proposal_corrected,
    require_others,
)
from tsallis_run.types import Coefficients


def garl(
    log_w: LogWeights,
    *,
    q: Q,
    baseline: bool,
    jackknife: bool,
    normalize: bool,
    answer_term: bool,
    log_ratio: LogWeights | None = None,
) -> Coefficients:
    """GARL, the gradient-amplified estimator of grad J_Q: constants to the autograd, zero for a group without mass.

    answer_m = k_m / s and rationale_m = (k_m - beta_m) / s, with the effective weight k_m = w_m wbar^-q / M,
    its leave-one-out baseline beta_m = wbar_not_m^(1-q) / M, and s = M^q or 1.
    q = 0 is REINFORCE with reward w, or RLOO with the baseline (VeriFree); q = 1 is the gradient of IWAE.

    Args:
        log_w: log p(y*|x,z_m), in nats; summed over aliases where there are several gold answers.
        q: in [0, 1].
        baseline: subtract beta_m. It depends on the other rollouts alone, so no expectation changes.
        jackknife: replace k_m by its delete-one jackknife (see `_jackknife_weight`): bias of order 1/M^2.
        normalize: divide by M^q, which bounds w_m / wbar^q / M^q by 1 and acts as a learning-rate factor.
        answer_term: False leaves the gradient through log p(y*|x,z) out (the authors' open ablation).
        log_ratio: truncated importance ratio of rollouts from older weights; it multiplies w_m and beta_m.

    Raises:
        ValueError: for one rollout with a baseline or the jackknife.

    Source: arXiv:2604.25907v1, eqs. 7-12, algorithm 1; jackknife, answer_term and log_ratio are not in the paper.
    """
    log_v, ratio = proposal_corrected(log_w, log_ratio)
    order = as_order(q, log_v)
    scale = float(log_v.shape[-1]) ** order if normalize else torch.ones_like(order)
    weight = _effective_weight(log_v, order, jackknife)
    control = ratio * _baseline(log_v, order, jackknife) if baseline else torch.zeros_like(weight)
    alive = has_mass(log_v)
    return Coefficients(
        rationale=torch.where(alive, (weight - control) / scale, 0.0),
        answer=torch.where(alive, weight / scale, 0.0) if answer_term else torch.zeros_like(weight),
    )


def _effective_weight(log_w: LogWeights, order: Tensor, jackknife: bool) -> LogWeights:
    """k_m: the plug-in w_m wbar^-q / M, or its jackknife where leaving one out leaves mass behind."""
    plug_in = (log_w + log_power(log_mean(log_w), -order)).exp() / log_w.shape[-1]
    return torch.where(_others_have_mass(log_w), _jackknife_weight(log_w, order), plug_in) if jackknife else plug_in


def _baseline(log_w: LogWeights, order: Tensor, jackknife: bool) -> LogWeights:
    """beta_m: what k_m would be if w_m were the mean of the other weights."""
    plug_in = log_power(log_mean_of_others(log_w), 1 - order).exp() / log_w.shape[-1]
    return torch.where(_others_have_mass(log_w), _jackknife_baseline(log_w, order), plug_in) if jackknife else plug_in


def _jackknife_weight(log_w: LogWeights, order: Tensor) -> LogWeights:
    """k_m = w_m (wbar^-q - (1/M) sum over j != m of wbar_not_j^-q).

    The delete-one jackknife M f - (M-1) mean_j f_not_j of the plug-in f = mean(w grad) wbar^-q, gathered by rollout.
    It costs no forward pass and about 1.2 times the plug-in's variance. At q = 1 a dominant weight gives each
    runner-up -(1 - 1/M), however small that one is: distrust it where the effective sample size is under 2.
    """
    num_rollouts = require_others(log_w)
    left_out = log_mean_of_others(-order * log_mean_of_others(log_w)) + log_w
    whole = log_w - order * log_mean(log_w)
    return whole.exp() - left_out.exp() * (num_rollouts - 1) / num_rollouts


def _jackknife_baseline(log_w: LogWeights, order: Tensor) -> LogWeights:
    """beta_m: `_jackknife_weight` with w_m replaced by c = wbar_not_m.

    Then wbar = c, and wbar_not_j = c (M - w_j/c) / (M - 1). For j != m, w_j/c is at most M - 1: nothing cancels.
    """
    num_rollouts = require_others(log_w)
    log_others = log_mean_of_others(log_w)
    relative = (log_w.unsqueeze(-2) - log_others.unsqueeze(-1)).exp()
    left_out = ((num_rollouts - relative) / (num_rollouts - 1)) ** -order.unsqueeze(-1)
    left_out = left_out.masked_fill(diagonal_like(log_w), 0.0).sum(-1) / num_rollouts
    return ((1 - order) * log_others).exp() * (1 - left_out)


def _others_have_mass(log_w: LogWeights) -> Tensor:
    """Groups that keep mass whichever rollout is left out: at least two weights that are not zero."""
    return log_w.isfinite().sum(-1, keepdim=True) >= 2
