"""What a study of docs/results.md is: how its runs are named, and which of their numbers are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from miniature_records import Run
from miniature_runs import thinned, validations

from tsallis_run.report import Row
from tsallis_run.report.runs import q_words
from tsallis_run.report.series import estimator_words


@dataclass(frozen=True)
class Column:
    """A number of every run."""

    heading: str
    value: Callable[[Row], float | None]
    form: str | None
    """How a table writes it; None: kept for the figure, not shown."""


@dataclass(frozen=True)
class Study:
    """What is kept of the runs of a sweep."""

    group: Callable[[Row], str]
    """The setting in which runs are compared."""
    name: Callable[[Row], str]
    """What sets a run apart from others of its group, up to its seed."""
    columns: tuple[Column, ...]
    curves: tuple[str, ...] = ("log_p_hat",)
    """Numbers of the training steps that are kept along them."""
    validation_curves: tuple[str, ...] = ()
    chosen: Callable[[Iterable[Row]], Iterable[Row]] = list
    """Of the runs in the folders, those that belong to the study, as it looks at them."""

    @property
    def headings(self) -> list[str]:
        """Of every number that is kept."""
        return [column.heading for column in self.columns]

    @property
    def forms(self) -> dict[str, str]:
        """Heading -> form of the columns that the table shows."""
        return {column.heading: column.form for column in self.columns if column.form is not None}

    def runs(self, rows: Iterable[Row]) -> list[Run]:
        """What is kept of these runs; one that has not finished is not among them."""
        finished = [row for row in rows if row.results.status == "finished"]
        return [self._run(row) for row in self.chosen(finished)]

    def _run(self, row: Row) -> Run:
        numbers = {column.heading: column.value(row) for column in self.columns}
        curves = {name: dict(thinned(row, name)) for name in self.curves}
        for name in self.validation_curves:
            curves[f"validation {name}"] = {
                int(step["step"]): float(step[name]) for step in validations(row) if name in step
            }
        known = {heading: value for heading, value in numbers.items() if value is not None}
        return Run(self.group(row), self.name(row), row.results.seed, known, curves)


def everything(row: Row) -> str:
    """The group where all runs are compared with each other."""
    return ""


def estimator(row: Row) -> str:
    """`GARL q=0.75`."""
    q = row.results.q
    return estimator_words(row.results.estimator) + ("" if q is None else f" q={q_words(q)}")


def fixed_q(row: Row) -> float | None:
    """None for a schedule, and where q is not used."""
    return float(row.results.q) if isinstance(row.results.q, int | float) else None
