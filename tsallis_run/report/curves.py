"""metrics.jsonl of several seeds -> one curve: mean, lowest and highest per step."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tsallis_run.report.series import Series
from tsallis_run.tracking.records import MetricsRow
from tsallis_run.tracking.scores import BOUNDS, majority_name

MAX_POINTS = 80
"""Of a curve over training steps: with more, the noise of single steps hides the course of several lines."""

SECONDS = "_seconds"


@dataclass(frozen=True)
class Curve:
    """Points from left to right."""

    steps: tuple[int, ...]
    mean: tuple[float, ...]
    """Over seeds."""
    low: tuple[float, ...]
    high: tuple[float, ...]
    """Lowest and highest seed; of a single seed its interval over examples, or the mean itself where it has none."""


def train_curve(series: Series, name: str, window: int) -> Curve | None:
    """A number of the train rows, averaged over windows of steps; None where no row has it."""
    runs = [_windowed(row.metrics, name, window) for row in series.rows]
    return _over_seeds([run for run in runs if run])


def validation_curve(series: Series, majority: str) -> Curve | None:
    """Validation maj@n in percent; None where no run has one of that name."""
    rows = [
        {int(row["step"]): row for row in run.metrics if row.get("split") == "validation" and majority in row}
        for run in series.rows
    ]
    rows = [run for run in rows if run]
    if len(rows) == 1:
        return _with_interval(list(rows[0].values()), majority)
    return _over_seeds([{step: 100 * float(row[majority]) for step, row in run.items()} for run in rows])


def majority_names(series: Iterable[Series]) -> list[str]:
    """maj@n of the validations, every n that there is."""
    metrics = (row for one in series for run in one.rows for row in run.metrics if row.get("split") == "validation")
    return list(dict.fromkeys(name for row in metrics if (name := majority_name(row))))


def window_of(series: Iterable[Series]) -> int:
    """Steps to average over, so that the longest run has at most MAX_POINTS points."""
    lengths = [int(row["step"]) for one in series for run in one.rows for row in run.metrics if _is_train(row)]
    return math.ceil(max(lengths, default=1) / MAX_POINTS)


def mean_seconds(series: Series) -> dict[str, float]:
    """Phase -> mean seconds per step, over all steps and seeds; {} without train rows."""
    rows = [row for run in series.rows for row in run.metrics if _is_train(row)]
    names = dict.fromkeys(name for row in rows for name in row if name.endswith(SECONDS))
    return {name.removesuffix(SECONDS): sum(float(row.get(name, 0.0)) for row in rows) / len(rows) for name in names}


def _windowed(metrics: Iterable[MetricsRow], name: str, window: int) -> dict[int, float]:
    """Last step of each window -> mean of the rows in it."""
    windows: dict[int, list[float]] = {}
    for row in metrics:
        if _is_train(row) and name in row:
            windows.setdefault(math.ceil(int(row["step"]) / window) * window, []).append(float(row[name]))
    return {step: statistics.fmean(values) for step, values in windows.items()}


def _over_seeds(runs: Sequence[dict[int, float]]) -> Curve | None:
    if not runs:
        return None
    steps = sorted({step for run in runs for step in run})
    values = [[run[step] for run in runs if step in run] for step in steps]
    return Curve(tuple(steps), tuple(map(statistics.fmean, values)), tuple(map(min, values)), tuple(map(max, values)))


def _with_interval(rows: Sequence[MetricsRow], majority: str) -> Curve:
    low, high = (majority + bound for bound in BOUNDS)
    return Curve(
        tuple(int(row["step"]) for row in rows),
        tuple(100 * float(row[majority]) for row in rows),
        tuple(100 * float(row.get(low, row[majority])) for row in rows),
        tuple(100 * float(row.get(high, row[majority])) for row in rows),
    )


def _is_train(row: MetricsRow) -> bool:
    return row.get("split") == "train"
