"""Bias and standard deviation of the estimators by exact enumeration: figures of docs/estimators.md, and tables.

    PYTHONPATH=tests python benchmarks/estimator_figures.py [--png FOLDER]

The model is that of tests/laws: four rationales, three answers, every multiset of M rollouts with its probability.
Nothing is sampled but the models' logits, from fixed seeds. Coefficients are not divided by M^q here, so that every
q estimates the gradient of its own J_Q. Takes about ten minutes, most of them for M = 64.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from drawing import BLUE, GREEN, ORANGE, PINK, Style, png_folder, save
from laws.latent_model import NUM_ANSWERS, NUM_RATIONALES, LatentModel, gradients, random_model, unordered_groups
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from torch import Tensor

from tsallis_run.estimators import Coefficients, garl

QS = (0.25, 0.5, 0.75, 1.0)
NUM_ROLLOUTS = (2, 4, 8, 16, 32, 64)
ROLLOUTS_AGAINST_P = 8
ROLLOUTS_OF_THE_TABLE = (3, 4, 8)
SUCCESS_GRID = tuple(10.0**exponent for exponent in np.arange(-6, -0.2, 0.5))
SEEDS = range(11)
MODELS = [random_model(seed, spread=1.5) for seed in SEEDS]
TABLE_MODELS = [random_model(seed, spread=1.5) for seed in range(40)]
SHOWN_SEED = 1


@dataclass(frozen=True)
class Curve:
    """An estimator, and how it is drawn."""

    label: str
    style: Style


PLUG_IN = Curve("GARL, plug-in", BLUE)
LEAVE_ONE_OUT = Curve("GARL, leave-one-out", ORANGE)
JACKKNIFE = Curve("GARL, jackknife, leave-one-out", GREEN)
PAFT = Curve("PAFT, K = M", PINK)
CURVES = (PLUG_IN, LEAVE_ONE_OUT, JACKKNIFE, PAFT)
SAME_BIAS = "plug-in, leave-one-out and PAFT: the same"


@dataclass(frozen=True)
class Moments:
    """Of an estimate, exact."""

    mean: Tensor
    """[parameters]."""
    deviation: float
    """Root of the total variance, the trace of the covariance."""


def moments(model: LatentModel, curve: Curve, q: float, num_rollouts: int) -> Moments:
    """Over every group of M rollouts; for PAFT over every draw from every group too."""
    estimator = partial(
        garl,
        q=q,
        baseline=curve in (LEAVE_ONE_OUT, JACKKNIFE),
        jackknife=curve is JACKKNIFE,
        normalize=False,
        answer_term=True,
    )
    mean, square = torch.zeros_like(model.parameters), 0.0
    for groups in unordered_groups(model.log_prior, num_rollouts).chunks():
        coefficients = estimator(model.log_w[groups.rationales])
        estimates = gradients(model, coefficients, groups.rationales)
        squares = estimates.square().sum(-1)
        if curve is PAFT:
            squares = _squares_after_resampling(model, coefficients, groups.rationales, squares)
        mean = mean + groups.probability @ estimates
        square += float(groups.probability @ squares)
    return Moments(mean, math.sqrt(max(square - float(mean.square().sum()), 0.0)))


def _squares_after_resampling(
    model: LatentModel, plug_in: Coefficients, rationales: Tensor, square_of_mean: Tensor
) -> Tensor:
    """E|PAFT|^2 of each group over its K = M draws, of which each gives wbar^(1-q) grad log p(z, y*|x).

    The plug-in's coefficient of a rollout is wbar^(1-q) times the probability that a draw takes it.
    """
    squared_scores = (model.rationale_scores + model.answer_scores).square().sum(-1)[rationales]
    square_of_one_draw = plug_in.answer.sum(-1) * (plug_in.answer * squared_scores).sum(-1)
    return square_of_mean + (square_of_one_draw - square_of_mean) / rationales.shape[-1]


def bias(model: LatentModel, curve: Curve, q: float, num_rollouts: int) -> float:
    """Norm of the difference between the mean estimate and the exact gradient."""
    return float((moments(model, curve, q, num_rollouts).mean - model.exact_gradient(q)).norm())


@cache
def relative_bias_and_deviation(model: LatentModel, curve: Curve, q: float, num_rollouts: int) -> tuple[float, float]:
    """Both as shares of the norm of the exact gradient."""
    exact, found = model.exact_gradient(q), moments(model, curve, q, num_rollouts)
    return float((found.mean - exact).norm() / exact.norm()), found.deviation / float(exact.norm())


def poor_answers(seed: int, by: float) -> LatentModel:
    """y* is unlikely after every rationale alike: small and even weights."""
    base = random_model(seed, spread=1.5)
    parameters = base.parameters.clone()
    _gold_logits(parameters).sub_(by)
    return LatentModel(parameters, base.num_golds)


def rare_rationale(seed: int, by: float) -> LatentModel:
    """y* is likely after one rationale, which is itself unlikely: weights of very different size."""
    base = random_model(seed, spread=0.5)
    parameters = base.parameters.clone()
    parameters[0] -= by
    _gold_logits(parameters)[0] += 3
    _gold_logits(parameters)[1:] -= 2 * by
    return LatentModel(parameters, base.num_golds)


def _gold_logits(parameters: Tensor) -> Tensor:
    """Logit of y* after each rationale; a view."""
    return parameters[NUM_RATIONALES:].reshape(NUM_RATIONALES, NUM_ANSWERS)[:, 0]


def with_success(change: Callable[[float], LatentModel], success: float) -> LatentModel:
    """The model at which P has the given value, by bisection; P falls as `change` is turned up."""
    low, high = -20.0, 60.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        model = change(middle)
        low, high = (middle, high) if float(model.success(model.parameters)) > success else (low, middle)
    return change(low)


def against_rollouts() -> Figure:
    """Bias and deviation against M, medians over the models."""
    figure, axes = _panels()
    for column, q in enumerate(QS):
        _draw(axes[:, column], NUM_ROLLOUTS, [[(model, q, m) for model in MODELS] for m in NUM_ROLLOUTS])
        axes[1, column].set(xscale="log", xticks=NUM_ROLLOUTS, xticklabels=NUM_ROLLOUTS, xlabel="rollouts M")
        axes[1, column].xaxis.minorticks_off()
    return _with_legends(figure)


def against_success(change: Callable[[int, float], LatentModel]) -> Figure:
    """Bias and deviation against P at M = 8, medians over the models."""
    figure, axes = _panels()
    models = [[with_success(partial(change, seed), p) for seed in SEEDS] for p in SUCCESS_GRID]
    for column, q in enumerate(QS):
        _draw(axes[:, column], SUCCESS_GRID, [[(model, q, ROLLOUTS_AGAINST_P) for model in row] for row in models])
        axes[1, column].set(xscale="log", xticks=(1e-6, 1e-4, 1e-2, 1), xlabel="success probability P")
    low, high = axes[1, 0].get_ylim()
    axes[1, 0].set_ylim(min(low, 0.2), max(high, 1.0))  # at least this much: a small change shall look small
    return _with_legends(figure)


def _panels() -> tuple[Figure, np.ndarray]:
    """Two rows of panels, one column for each q, with logarithmic shares of the gradient's norm."""
    figure, axes = plt.subplots(2, len(QS), figsize=(7.2, 4.4), sharex=True, sharey="row", layout="constrained")
    for column, q in enumerate(QS):
        axes[0, column].set_title(f"q = {q:g}")
    for row, label in enumerate(("bias", "standard deviation")):
        axes[row, 0].set(yscale="log", ylabel=f"{label}\n(share of |gradient|)")
    axes[1, 0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[1, 0].yaxis.set_major_formatter("{x:g}")
    axes[1, 0].yaxis.set_minor_formatter(NullFormatter())
    return figure, axes


def _with_legends(figure: Figure) -> Figure:
    for row, (place, title) in enumerate((("upper", "bias"), ("lower", "standard deviation"))):
        handles = figure.axes[row * len(QS)].get_legend_handles_labels()
        figure.legend(*handles, loc=f"outside {place} center", ncols=len(CURVES), title=title)
    return figure


def _draw(axes: Sequence[Axes], x: Sequence[float], cases: Sequence[Sequence[tuple[LatentModel, float, int]]]) -> None:
    """One column of panels; `cases` holds, for every x, the models whose median is drawn."""
    found = {curve: np.array([_median(curve, row) for row in cases]) for curve in CURVES}
    for curve in (LEAVE_ONE_OUT, PAFT):
        np.testing.assert_allclose(found[curve][:, 0], found[PLUG_IN][:, 0], rtol=1e-6)
    PLUG_IN.style.plot(axes[0], x, found[PLUG_IN][:, 0], SAME_BIAS)
    JACKKNIFE.style.plot(axes[0], x, found[JACKKNIFE][:, 0], JACKKNIFE.label)
    for curve, values in found.items():
        curve.style.plot(axes[1], x, values[:, 1], curve.label)


def _median(curve: Curve, cases: Sequence[tuple[LatentModel, float, int]]) -> np.ndarray:
    """(bias, deviation)."""
    return np.median([relative_bias_and_deviation(model, curve, q, m) for model, q, m in cases], axis=0)


def print_bias_table() -> None:
    """Bias norms of one model, then of many."""
    model = TABLE_MODELS[SHOWN_SEED]
    print(f"norm of the bias, plug-in -> jackknife\n\nmodel {SHOWN_SEED}, P = {model.success(model.parameters):.3f}")
    _print_rows(lambda q, m: f"{bias(model, PLUG_IN, q, m):.3g} -> {bias(model, JACKKNIFE, q, m):.3g}", width=24)
    print(f"\n{len(TABLE_MODELS)} models: medians, median factor by which it falls, models where it rises")
    _print_rows(_summary, width=42)


def print_deviation_table() -> None:
    """Standard deviations over each other: medians over many models, the largest, and in how many it is over 1."""
    print(f"\nratio of standard deviations over {len(TABLE_MODELS)} models: median, largest, models over 1")
    for over, under in ((LEAVE_ONE_OUT, PLUG_IN), (JACKKNIFE, LEAVE_ONE_OUT), (PAFT, PLUG_IN)):
        print(f"\n{over.label} / {under.label}")
        _print_rows(partial(_ratio_of_deviations, over, under), width=24)


def _ratio_of_deviations(over: Curve, under: Curve, q: float, num_rollouts: int) -> str:
    pairs = [[moments(model, curve, q, num_rollouts).deviation for curve in (over, under)] for model in TABLE_MODELS]
    ratios = [above / below for above, below in pairs]
    return f"{statistics.median(ratios):.2f}, {max(ratios):.2f}, {sum(ratio > 1 for ratio in ratios)}"


def _print_rows(cell: Callable[[float, int], str], width: int) -> None:
    print(f"{'':10}", *(f"{f'M = {m}':>{width}}" for m in ROLLOUTS_OF_THE_TABLE))
    for q in QS:
        print(f"q = {q:<6g}", *(f"{cell(q, m):>{width}}" for m in ROLLOUTS_OF_THE_TABLE))


def _summary(q: float, num_rollouts: int) -> str:
    before, after = ([bias(model, curve, q, num_rollouts) for model in TABLE_MODELS] for curve in (PLUG_IN, JACKKNIFE))
    factors = [plug_in / jackknife for plug_in, jackknife in zip(before, after, strict=True)]
    medians = f"{statistics.median(before):.3g} -> {statistics.median(after):.3g}"
    return f"{medians}, x{statistics.median(factors):.1f}, {sum(factor < 1 for factor in factors)} rise"


if __name__ == "__main__":
    folder = png_folder(__doc__)
    print_bias_table()
    print_deviation_table()
    save(against_success(poor_answers), "against_success_poor_answers", folder)
    save(against_success(rare_rationale), "against_success_rare_rationale", folder)
    save(against_rollouts(), "against_rollouts", folder)
