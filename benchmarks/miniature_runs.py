"""What the runs of a study come to: pure functions of their records."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tsallis_run.report import Row
from tsallis_run.tracking.records import MetricsRow

ESCAPED = 0.1
"""Mean P of the batches at which a run counts as escaped."""
WINDOW_STEPS = 10
"""Steps that are averaged: single batches are noisy."""


def setting(row: Row, key: str) -> Any:
    """A run's configuration at a dotted key; None where it has no such key."""
    found: Any = row.config
    for name in key.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def until(row: Row, step: int) -> Row:
    """The run as if it had ended behind that step."""
    return replace(row, metrics=tuple(metrics for metrics in row.metrics if int(metrics["step"]) <= step))


def training(row: Row) -> list[MetricsRow]:
    """The steps of a run, the supervised ones of a warm start left out."""
    return [step for step in row.metrics if step["split"] == "train" and step["phase"] != "supervised"]


def validations(row: Row) -> list[MetricsRow]:
    """The validations of a run, from the one that its estimator started from on."""
    found = [step for step in row.metrics if step["split"] == "validation"]
    start = int(training(row)[0]["step"]) - 1 if training(row) else 0
    return [step for step in found if int(step["step"]) >= start]


def first_step_at(
    row: Row, threshold: float = ESCAPED, *, name: str = "p_hat", window: int = WINDOW_STEPS
) -> int | None:
    """How many steps it takes until the mean over the last `window` of them reaches `threshold`; None if none does."""
    values = [float(step[name]) for step in training(row)]
    for end in range(window, len(values) + 1):
        if statistics.fmean(values[end - window : end]) >= threshold:
            return end
    return None


def first(row: Row, name: str) -> float | None:
    """A number of the first step; None where that step has it not."""
    return next((float(step[name]) if name in step else None for step in training(row)), None)


def last(row: Row, name: str, *, window: int = WINDOW_STEPS) -> float | None:
    """The mean of a number over the last `window` steps; None where none of them has it."""
    values = [float(step[name]) for step in training(row)[-window:] if name in step]
    return statistics.fmean(values) if values else None


def greatest(row: Row, name: str, *, window: int = WINDOW_STEPS) -> float | None:
    """The greatest mean of a number over `window` steps in a row; None in shorter runs."""
    values = [float(step[name]) for step in training(row) if name in step]
    means = [statistics.fmean(values[end - window : end]) for end in range(window, len(values) + 1)]
    return max(means, default=None)


def validated(row: Row, name: str) -> float | None:
    """A number of the last validation; None where it has it not."""
    found = validations(row)
    return float(found[-1][name]) if found and name in found[-1] else None


def best_validated(row: Row, name: str) -> float | None:
    """The greatest of all validations; None without one."""
    return max((float(step[name]) for step in validations(row) if name in step), default=None)


def tested(row: Row, prefix: str) -> float | None:
    """The test's number whose name begins so: maj@ of whatever k; None for a run without one."""
    return next((value for name, value in row.results.test.items() if name.startswith(prefix)), None)


def thinned(row: Row, name: str, *, window: int = WINDOW_STEPS) -> Iterator[tuple[int, float]]:
    """(step, mean since the last one) at every `window`-th step that has the number."""
    steps = training(row)
    for end in range(window, len(steps) + 1, window):
        values = [float(step[name]) for step in steps[end - window : end] if name in step]
        if values:
            yield int(steps[end - 1]["step"]), statistics.fmean(values)
