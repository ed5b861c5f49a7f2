"""Figures of the studies, drawn from docs/results/."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import drawing  # noqa: F401  # how the figures of docs/ look
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from miniature_records import Run, by_name, over_seeds

from tsallis_run.estimators import tsallis
from tsallis_run.report.drawing import style_of

PANEL_INCHES = (2.75, 2.45)
LEGEND_LINE_INCHES = 0.17
LEGEND_CHARS_PER_INCH = 14
SAMPLE_CHARS = 9
"""Width of the line in front of a legend's label."""
MARKERS_PER_LINE = 5
LOG_P = "log P (nats)"
IN_PERCENT = (-4.0, 104.0)


@dataclass(frozen=True)
class Panel:
    """What one pair of axes shows."""

    title: str
    axis: str
    quantity: str
    runs: Sequence[Run]
    limits: tuple[float, float] | None = None
    """Of the vertical axis; None: what the curves need."""
    scale: float = 1.0
    """100 for percent."""


def figure_of(panels: Sequence[Panel]) -> Figure:
    """The panels side by side; a name has one style throughout, and stands once in the legend."""
    names = list(dict.fromkeys(run.name for panel in panels for run in panel.runs))
    width = PANEL_INCHES[0] * len(panels)
    columns = max(1, int(width * LEGEND_CHARS_PER_INCH / (max(map(len, names)) + SAMPLE_CHARS)))
    height = PANEL_INCHES[1] + LEGEND_LINE_INCHES * -(-len(names) // columns)
    figure, grid = plt.subplots(1, len(panels), figsize=(width, height), layout="constrained", squeeze=False)
    for axes, panel in zip(grid[0], panels, strict=True):
        draw(axes, panel, names)
    handles = {str(line.get_label()): line for axes in grid[0] for line in axes.get_lines()}
    shown = [name for name in names if name in handles]
    figure.legend([handles[name] for name in shown], shown, loc="outside lower center", ncols=columns)
    return figure


def draw(axes: Axes, panel: Panel, names: Sequence[str]) -> None:
    """Every name's mean over seeds, over the band between the lowest and the highest; few markers."""
    for (_, name), runs in by_name(panel.runs).items():
        points = over_seeds([run.curves.get(panel.quantity, {}) for run in runs])
        if not points:
            continue
        steps, low, mean, high = zip(*[(x, *(panel.scale * y for y in ys)) for x, ys in points.items()], strict=True)
        index = names.index(name)
        style, every = style_of(index), max(1, len(steps) // MARKERS_PER_LINE)
        axes.fill_between(steps, low, high, color=style.color, alpha=0.13, linewidth=0)
        look = {"color": style.color, "marker": style.marker, "markerfacecolor": "white", "markersize": 4}
        axes.plot(steps, mean, dashes=style.dashes, label=name, markevery=(index % every, every), **look)
    axes.set(xlabel="optimizer step", ylabel=panel.axis, title=panel.title, ylim=panel.limits)


def cold(runs: Sequence[Run]) -> Figure:
    garl, paft = _named(runs, "GARL"), _named(runs, "PAFT")
    high = [run for run in garl if run.numbers["q"] >= 0.75]
    return figure_of(
        [
            Panel("GARL and GRPO", LOG_P, "log_p_hat", [*garl, *_named(runs, "GRPO")]),
            Panel("the paper's Figure 3", "max centred weight / $M^q$", "max_centered_weight", garl),
            Panel("GARL and PAFT", LOG_P, "log_p_hat", [*high, *paft]),
        ]
    )


def epsilon(runs: Sequence[Run]) -> Figure:
    shown = [run for run in runs if run.numbers["q"] < 0.75]
    return figure_of(_panel_of_each_group(shown, "log_p_hat", LOG_P, "GARL, "))


def flow(runs: Sequence[Run]) -> Figure:
    return figure_of(_panel_of_each_group(runs, "log_p_hat", LOG_P))


def warm(runs: Sequence[Run]) -> Figure:
    return figure_of(
        [
            Panel("probability of the gold answer", "P, mean of the batch", "p_hat", runs, (-0.04, 1.04)),
            Panel("Figure 4 in miniature", "validation maj@8 (%)", "validation maj@8", runs, IN_PERCENT, 100.0),
        ]
    )


def bias(runs: Sequence[Run]) -> Figure:
    return figure_of(_panel_of_each_group(runs, "log_p_hat", LOG_P, limits=(-18.0, 0.0)))


def schedule(runs: Sequence[Run]) -> Figure:
    groups = _groups(runs)
    clean, noisy = groups["no noise"], [run for name, group in groups.items() if name != "no noise" for run in group]
    accuracy = ("validation pass@1 (%)", "validation pass@1")
    return figure_of(
        [
            Panel("no noise", LOG_P, "log_p_hat", clean),
            Panel("no noise", *accuracy, clean, IN_PERCENT, 100.0),
            Panel(noisy[0].group, *accuracy, noisy, IN_PERCENT, 100.0),
        ]
    )


def real(runs: Sequence[Run]) -> Figure:
    return figure_of(_panel_of_each_group(runs, "log_p_hat", LOG_P))


def noise(runs: Sequence[Run]) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.6, 2.9), layout="constrained")
    groups = _groups(runs)
    _draw_against_q(left, {name: group for name, group in groups.items() if "visit" in name}, "contamination")
    _draw_escort(left, [name for name in groups if "visit" in name])
    for_good = {name: group for name, group in groups.items() if "example" in name}
    _draw_against_q(right, for_good, "noisy_wrong@1")
    left.set(title="two labels of one question", ylabel="contamination", xlabel="q")
    right.set(title=", ".join(for_good), ylabel="answered with the wrong label", xlabel="q")
    right.set_ylim(-0.04, 1.04)
    for axes in (left, right):
        axes.set_xlim(-0.03, 1.03)
    left.legend()
    return figure


def _draw_against_q(axes: Axes, groups: Mapping[str, Sequence[Run]], heading: str) -> None:
    for index, (name, runs) in enumerate(groups.items()):
        style = style_of(index)
        found = [(run.numbers["q"], run.numbers[heading]) for run in runs if heading in run.numbers]
        if found:
            look = {"color": style.color, "markerfacecolor": "white", "markersize": 5}
            axes.plot(*zip(*found, strict=True), style.marker, label=name, **look)


def _draw_escort(axes: Axes, names: Iterable[str]) -> None:
    grid = [index / 100 for index in range(1, 101)]
    for index, name in enumerate(names):
        style, fraction = style_of(index), float(name.partition("%")[0]) / 100
        axes.plot(grid, [tsallis.contamination(fraction, q) for q in grid], color=style.color, dashes=style.dashes)
    axes.plot([], [], "-", color="0.4", label="escort (prop. C.2)")


def _named(runs: Sequence[Run], prefix: str) -> list[Run]:
    return [run for run in runs if run.name.startswith(prefix)]


def _groups(runs: Sequence[Run]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    return groups


def _panel_of_each_group(
    runs: Sequence[Run], quantity: str, axis: str, title: str = "", limits: tuple[float, float] | None = None
) -> list[Panel]:
    return [Panel(f"{title}{name}", axis, quantity, group, limits) for name, group in _groups(runs).items()]


FIGURES: dict[str, Callable[[Sequence[Run]], Figure]] = {
    "cold": cold,
    "epsilon": epsilon,
    "flow": flow,
    "warm": warm,
    "noise": noise,
    "bias": bias,
    "schedule": schedule,
    "real": real,
}
