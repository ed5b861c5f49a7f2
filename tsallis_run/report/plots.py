"""The figures of one setting: what over which axes, for how many lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tsallis_run.report.curves import (
    Curve,
    majority_names,
    mean_seconds,
    train_curve,
    validation_curve,
    window_of,
)
from tsallis_run.report.drawing import RC, Style, as_svg, broken, new_figure, style_of
from tsallis_run.report.runs import q_order
from tsallis_run.report.series import Series, estimator_words

MAX_LINES = 6
"""In one panel; with more, each estimator gets its own."""

LEGEND_COLUMNS = 3
LABEL_CHARS, BAR_LABEL_CHARS = 52, 24
"""Where the lines of a legend, and the names of bars, are broken."""
MARKERS_PER_LINE = 6
LOG_RANGE = 30.0
MARGIN = 0.04
"""Above and below the curves, of their range."""

PHASES = {
    "generate": ("#56B4E9", ""),
    "score": ("#E69F00", "//"),
    "backward": ("#009E73", "\\\\"),
    "step": ("#F0E442", ".."),
    "sync": ("#CC79A7", "xx"),
}
OTHER_PHASE = ("#999999", "--")
"""Colour and hatch of a phase's bar."""


@dataclass(frozen=True)
class Quantity:
    """A number of the train rows, as a figure."""

    name: str
    title: str
    axis: str
    """What the axis says, with the unit."""
    is_log: bool = False
    """Where the values span more than LOG_RANGE."""
    from_zero: bool = False


CENTERED_WEIGHT = Quantity(
    "max_centered_weight", "Maximum centred weight (paper: Figure 3)", "max centred weight / M^q", from_zero=True
)
QUANTITIES = (
    Quantity("log_p_hat", "Probability of success", "log P̂, mean of the groups (nats)"),
    Quantity("ess", "Effective sample size", "ESS of a group (rollouts)", from_zero=True),
    Quantity("grad_norm", "Gradient norm", "norm before clipping", is_log=True),
    Quantity("rationale_tokens", "Length of rationales", "mean length (tokens)", from_zero=True),
    Quantity("reward", "Reward", "mean exact-match reward", from_zero=True),
)
VALIDATION_CAPTION = "Bands: range of the seeds; of one seed, the interval over examples."


@dataclass(frozen=True)
class Plot:
    """A figure of one quantity: one panel, or one for each estimator."""

    title: str
    caption: str
    panels: tuple[str, ...]
    """Each an `<svg>` element."""


@dataclass(frozen=True)
class Line:
    """A series as it is drawn, the same in every figure of its setting."""

    series: Series
    style: Style
    label: str
    """In the legend."""


@dataclass(frozen=True)
class Panel:
    """Which lines stand in one pair of axes."""

    title: str
    """"" where there is no other panel."""
    lines: tuple[Line, ...]


def plots(series: Sequence[Series]) -> list[Plot]:
    """Every figure that the runs of one setting have numbers for."""
    with mpl.rc_context(RC):
        return [plot for plot in _plots(series) if plot is not None]


def _plots(series: Sequence[Series]) -> Iterator[Plot | None]:
    panels, window = panels_of(series), window_of(series)
    several = any(len(one.rows) > 1 for one in series)
    steps = "Every step." if window == 1 else f"Means over {window} steps."
    caption = f"{steps} Bands: range of the seeds." if several else steps

    def train_plot(quantity: Quantity) -> Plot | None:
        curves = [[train_curve(line.series, quantity.name, window) for line in panel.lines] for panel in panels]
        return _plot(quantity, caption, panels, curves)

    yield train_plot(CENTERED_WEIGHT)
    for name in majority_names(series):
        quantity = Quantity(name, f"Validation {name} (paper: Figure 4)", f"validation {name} (%)", from_zero=True)
        curves = [[validation_curve(line.series, name) for line in panel.lines] for panel in panels]
        yield _plot(quantity, VALIDATION_CAPTION, panels, curves)
    yield from map(train_plot, QUANTITIES)
    yield _time_split(series)


def panels_of(series: Sequence[Series]) -> list[Panel]:
    """One panel for few lines; for more one for each estimator, in which q has the same style throughout."""
    if len(series) <= MAX_LINES:
        return [Panel("", tuple(Line(one, style_of(index), one.label) for index, one in enumerate(series)))]
    estimators = {name: list(group) for name, group in groupby(series, lambda one: one.estimator)}
    lone = [group[0] for group in estimators.values() if len(group) == 1]
    together = {name: group for name, group in estimators.items() if len(group) > 1}
    found = {(one.q, one.variant) for group in together.values() for one in group}
    choices = sorted(found, key=lambda choice: (q_order(choice[0]), choice[1]))

    def line(one: Series) -> Line:
        return Line(one, style_of(choices.index((one.q, one.variant))), one.short_label)

    panels = [Panel(estimator_words(name), tuple(map(line, group))) for name, group in together.items()]
    others = [Panel("others", panel.lines) for panel in panels_of(lone)] if lone else []
    return [*panels, *others]


def _plot(
    quantity: Quantity, caption: str, panels: Sequence[Panel], curves: Sequence[Sequence[Curve | None]]
) -> Plot | None:
    """None where no line has the quantity."""
    drawn = [curve for of_panel in curves for curve in of_panel if curve is not None]
    if not drawn:
        return None
    limits = _limits(drawn, quantity)
    if limits.is_log and any(value <= 0 for curve in drawn for value in curve.mean):
        caption = f"{caption} Zeros are off the axis."
    pairs = zip(panels, curves, strict=True)
    shown = [_panel(quantity, panel, of_panel, limits) for panel, of_panel in pairs if any(of_panel)]
    return Plot(quantity.title, caption, tuple(shown))


def _panel(quantity: Quantity, panel: Panel, curves: Sequence[Curve | None], limits: Limits) -> str:
    labels = [broken(line.label, LABEL_CHARS) for line in panel.lines]
    columns = LEGEND_COLUMNS if max(map(len, labels)) < LABEL_CHARS / LEGEND_COLUMNS else 1
    num_lines = sum(label.count("\n") + 1 for label in labels)
    figure, axes = new_figure(num_legend_lines=math.ceil(num_lines / columns))
    for index, (line, label, curve) in enumerate(zip(panel.lines, labels, curves, strict=True)):
        if curve is not None:
            _draw(axes, curve, line.style, label, first_marker=index)
    axes.set(xlabel="optimizer step", ylabel=quantity.axis, title=panel.title, xlim=limits.steps, ylim=limits.values)
    if limits.is_log:
        axes.set_yscale("log", nonpositive="mask")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    figure.legend(loc="outside lower left", ncols=columns)
    return as_svg(figure, f"{quantity.title}, {panel.title}" if panel.title else quantity.title)


def _draw(axes: Axes, curve: Curve, style: Style, label: str, *, first_marker: int) -> None:
    """A line with few markers, which different lines carry at different places, over its band."""
    every = max(1, len(curve.steps) // MARKERS_PER_LINE)
    axes.fill_between(curve.steps, curve.low, curve.high, color=style.color, alpha=0.13, linewidth=0)
    axes.plot(
        curve.steps,
        curve.mean,
        dashes=style.dashes,
        color=style.color,
        marker=style.marker,
        markerfacecolor="white",
        markevery=(first_marker % every, every),
        label=label,
    )


@dataclass(frozen=True)
class Limits:
    """Of the axes, the same in all panels of a figure."""

    steps: tuple[float, float]
    values: tuple[float, float]
    is_log: bool


def _limits(curves: Iterable[Curve], quantity: Quantity) -> Limits:
    curves = list(curves)
    last = max(step for curve in curves for step in curve.steps)
    steps = (-MARGIN * last / 2, last * (1 + MARGIN / 2) or 1.0)
    values = [value for curve in curves for value in (*curve.low, *curve.high)]
    positive = [value for value in values if value > 0]
    if quantity.is_log and positive and max(positive) > LOG_RANGE * min(positive):
        return Limits(steps, (min(positive) / 1.3, max(positive) * 1.3), is_log=True)
    low, high = min([0.0, *values] if quantity.from_zero else values), max(values)
    high = high if high > low else low + 1.0
    margin = MARGIN * (high - low)
    return Limits(steps, (low - margin, high + margin), is_log=False)


def _time_split(series: Sequence[Series]) -> Plot | None:
    """One bar for each series, stacked by phase."""
    bars = {broken(one.label, BAR_LABEL_CHARS): seconds for one in series if (seconds := mean_seconds(one))}
    if not bars:
        return None
    phases = list(dict.fromkeys(phase for seconds in bars.values() for phase in seconds))
    lines_per_bar = max(label.count("\n") + 1 for label in bars)
    figure, axes = new_figure(axes_inches=0.5 + len(bars) * max(0.27, 0.16 * lines_per_bar), num_legend_lines=1)
    left = [0.0] * len(bars)
    for phase in phases:
        widths = [seconds.get(phase, 0.0) for seconds in bars.values()]
        color, hatch = PHASES.get(phase, OTHER_PHASE)
        axes.barh(list(bars), widths, 0.66, left, color=color, hatch=hatch, edgecolor="white", label=phase)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set(xlabel="mean time of a step (s)")
    axes.grid(visible=False, axis="y")
    axes.invert_yaxis()
    figure.legend(loc="outside lower left", ncols=len(phases), handlelength=1.6)
    return Plot("Time of a step", "Means over all steps and seeds.", (as_svg(figure, "Time of a step"),))
