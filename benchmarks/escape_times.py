"""Time to escape from a small success probability, against q: a figure of docs/estimators.md, and a table.

    python benchmarks/escape_times.py [--png FOLDER]

The model is P = sigmoid(theta). Eq. 15 of arXiv:2604.25907v1 is set beside gradient descent on J_Q, beside the orders
of its theorems 5.1 and 5.2, and beside the flow along the mean of GARL's estimate where weights are 0 or 1.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from drawing import BLUE, GREEN, ORANGE, PINK, png_folder, save
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tsallis_run.estimators import garl, tsallis

QS = tuple(np.linspace(0, 1, 9))
STARTS = {1e-2: BLUE, 1e-4: ORANGE, 1e-6: GREEN}
"""Success probability at the start -> how it is drawn."""
HARD_START = 1e-4
ROLLOUTS = {64: ORANGE, 8: GREEN, 2: PINK}
DELTA = 0.5
"""Success probability at which a run counts as escaped."""
DESCENT_STEPS = 2000
"""Steps of gradient descent to an escape, so that the step size changes a time by less than a percent."""
QUADRATURE_POINTS = 400
LAST_Q_OF_THE_ORDER = 0.9
"""Theorem 5.1 is a statement for each q < 1; its expression grows without bound as q nears 1."""


def escape_order(p0: float, q: float) -> float:
    """p0^-(1-q) / (1-q), and log(1/p0) at q = 1; up to a factor that does not depend on p0."""
    return math.log(1 / p0) if q == 1 else p0 ** -(1 - q) / (1 - q)


def descent_time(p0: float, q: float) -> float:
    """Step size times steps until gradient descent on J_Q has escaped."""
    theta = torch.tensor(_logit(p0), dtype=torch.float64, requires_grad=True)
    step_size, num_steps = tsallis.escape_time(p0, DELTA, q) / DESCENT_STEPS, 0
    while theta.sigmoid() < DELTA:
        (slope,) = torch.autograd.grad(-tsallis.log_q(theta.sigmoid(), q), theta)
        theta = (theta - step_size * slope).detach().requires_grad_()
        num_steps += 1
    return num_steps * step_size


def hard_weights_time(p0: float, q: float, num_rollouts: int) -> float:
    """Integral of d theta / speed, where sigmoid(theta) is the probability that a rationale is right (w = 1, else 0).

    The speed is the mean of plug-in GARL's estimate over the number of right ones among M.
    """
    theta = torch.linspace(_logit(p0), _logit(DELTA), QUADRATURE_POINTS, dtype=torch.float64)
    counts = torch.arange(num_rollouts + 1)
    right = torch.arange(num_rollouts) < counts[:, None]
    log_w = torch.where(right, 0.0, -math.inf).double()
    found = garl(log_w, q=q, baseline=False, jackknife=False, normalize=False, answer_term=True)
    scores = right.double() - theta.sigmoid()[:, None, None]
    chances = torch.distributions.Binomial(num_rollouts, theta.sigmoid()[:, None]).log_prob(counts.double()).exp()
    speed = (chances * (found.rationale * scores).sum(-1)).sum(-1)
    return float(torch.trapezoid(1 / speed, theta))


def figure() -> Figure:
    drawn, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.2), sharey=True, layout="constrained")
    _draw_exact_flow(left)
    _draw_hard_weights(right)
    for axes in (left, right):
        axes.set(xlabel="q", yscale="log", xticks=(0, 0.25, 0.5, 0.75, 1))
        axes.legend()
    left.set_ylabel(f"time from $p_0$ to P = {DELTA:g}\n(units of gradient flow)")
    return drawn


def _draw_exact_flow(axes: Axes) -> None:
    fine = np.linspace(0, 1, 101)
    below_one = fine[fine < LAST_Q_OF_THE_ORDER]
    for p0, style in reversed(STARTS.items()):
        axes.plot(fine, [tsallis.escape_time(p0, DELTA, q) for q in fine], style.line, color=style.color)
        axes.plot(below_one, [escape_order(p0, q) for q in below_one], ":", color="0.35", linewidth=1)
        axes.plot([1], [escape_order(p0, 1)], "_", color="0.35", markersize=9)
        times = [descent_time(p0, q) for q in QS]
        axes.plot(QS, times, style.marker, color=style.color, markerfacecolor="white")
        style.plot(axes, [], [], f"$p_0 = {_power_of_ten(p0)}$")
    axes.plot([], [], ":", color="0.35", label="order $p_0^{-(1-q)}/(1-q)$")
    axes.plot([], [], "_", color="0.35", markersize=9, label=r"order $\log\,1/p_0$ at $q = 1$")
    axes.set_title("exact gradient: eq. 15 (lines), gradient descent (markers)")


def _draw_hard_weights(axes: Axes) -> None:
    exact = [tsallis.escape_time(HARD_START, DELTA, q) for q in QS]
    axes.plot(QS, exact, "-", color="black", label="eq. 15; equal weights at any M")
    for num_rollouts, style in ROLLOUTS.items():
        times = [hard_weights_time(HARD_START, q, num_rollouts) for q in QS]
        style.plot(axes, QS, times, f"0/1 weights, M = {num_rollouts}")
    axes.set_title(f"mean of GARL's estimate, $p_0 = {_power_of_ten(HARD_START)}$")


def print_table() -> None:
    print(f"{'p0':>8}{'q':>7}{'eq. 15':>12}{'descent':>12}{'order':>12}{'eq. 15 / order':>16}")
    for p0 in STARTS:
        for q in (0, 0.25, 0.5, 0.75, 1):
            exact, order = tsallis.escape_time(p0, DELTA, q), escape_order(p0, q)
            print(f"{p0:8.0e}{q:7g}{exact:12.5g}{descent_time(p0, q):12.5g}{order:12.5g}{exact / order:16.3f}")


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _power_of_ten(p0: float) -> str:
    return f"10^{{{round(math.log10(p0))}}}"


if __name__ == "__main__":
    folder = png_folder(__doc__)
    print_table()
    save(figure(), "escape_times", folder)
