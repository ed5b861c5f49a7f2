"""The Tsallis loss continuum (arXiv:2604.25907v1): J_Q = E[-log_q P], with P = p(y*|x) and q in [0, 1].

q = 0 is expected exact match, q = 1 the log marginal likelihood.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

Number = float | int
"""A real number; spelt out because run-time type checks take no int for a float."""

_PANEL_LOGITS = 1.0
"""Width of a quadrature panel. The integrand's nearest singularity is pi away from the real axis."""
_NODES_PER_PANEL = 16
"""Gauss-Legendre nodes; at this width the error falls under double precision."""


def log_q(u: Tensor | Number, q: Tensor | Number) -> Tensor:
    """Tsallis logarithm log_q(u) = (u^(1-q) - 1) / (1-q), and log_1 = log.

    Differentiable in u; exact near q = 1; -1/(1-q) at u = 0.

    Args:
        u: probabilities, any shape.
        q: any shape that broadcasts with u.

    Source: arXiv:2604.25907v1, eq. 1.
    """
    log_u, order = _tensor(u).log(), 1 - _tensor(q)
    exponent, is_log = order * log_u, order == 0
    # autograd takes the slope of expm1 from its value, and so loses it where that rounds to -1.
    power_minus_one = torch.where(exponent < -1, exponent.exp() - 1, exponent.expm1())
    return torch.where(is_log, log_u, power_minus_one / torch.where(is_log, 1.0, order))


def amplification(p: Tensor | Number, q: Tensor | Number) -> Tensor:
    """Factor P^-q between the gradients of -log_q P and of -P; 1 at q = 0, also for P = 0.

    Args:
        p: probabilities, any shape.
        q: any shape that broadcasts with p.

    Source: arXiv:2604.25907v1, eq. 5.
    """
    return _tensor(p) ** -_tensor(q)


def escape_time(p0: Number, delta: Number, q: Number) -> float:
    """Time in which the gradient flow of the sigmoid model climbs from p0 to delta.

    T_q(p0, delta) = integral from p0 to delta of du / (u^(2-q) (1-u)^2). With u = sigmoid(t) the integrand
    becomes (1 + e^-t)^(1-q) (1 + e^t): smooth, so that Gauss-Legendre panels in t are exact to rounding.

    Args:
        p0: success probability at the start.
        delta: success probability to be reached.
        q: in [0, 1].

    Raises:
        ValueError: unless 0 < p0 <= delta < 1.

    Source: arXiv:2604.25907v1, eq. 15.
    """
    if not 0 < p0 <= delta < 1:
        raise ValueError(f"p0, delta: must satisfy 0 < p0 <= delta < 1, got {p0}, {delta}")
    start, end = _logit(p0), _logit(delta)
    edges = np.linspace(start, end, 1 + math.ceil((end - start) / _PANEL_LOGITS))
    half_widths = np.diff(edges)[:, None] / 2
    nodes, weights = np.polynomial.legendre.leggauss(_NODES_PER_PANEL)
    t = edges[:-1, None] + half_widths * (1 + nodes)
    integrand = np.exp((1 - q) * np.logaddexp(0, -t) + np.logaddexp(0, t))
    return float((half_widths * weights * integrand).sum())


def escort(alpha: Tensor | Number, q: Number) -> Tensor:
    """Escort distribution theta_j proportional to alpha_j^(1/q): what J_Q fits to label frequencies alpha.

    q = 1 gives alpha itself; q = 0 the most frequent label, shared evenly between equals.

    Args:
        alpha: frequencies along the last axis; they need not sum to one.

    Source: arXiv:2604.25907v1, theorem 3.1.
    """
    frequencies = _tensor(alpha)
    if q == 0:
        is_mode = (frequencies == frequencies.amax(-1, keepdim=True)).to(frequencies.dtype)
        return is_mode / is_mode.sum(-1, keepdim=True)
    log_relative = frequencies.log() - frequencies.amax(-1, keepdim=True).log()
    return (log_relative / q).softmax(-1)


def contamination(eps: Number, q: Number) -> float:
    """Share of a wrong label that J_Q fits where it occurs with frequency eps: r / (1 + r), r = (eps/(1-eps))^(1/q).

    It is the wrong label's share of the `escort` of two labels: eps itself at q = 1, less for smaller q, 0 at q = 0.

    Args:
        eps: frequency of the wrong label, in [0, 1].

    Source: arXiv:2604.25907v1, proposition C.2.
    """
    return float(escort(torch.tensor([1.0 - eps, eps], dtype=torch.float64), q)[1])


def _tensor(value: Tensor | Number) -> Tensor:
    return value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)


def _logit(p: Number) -> float:
    return math.log(p) - math.log1p(-p)
