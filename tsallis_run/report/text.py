"""Every run as one line: for the terminal, and unrounded as CSV."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from tsallis_run.report.runs import Row, q_words
from tsallis_run.tracking.scores import score_names, score_words

FALLBACK_SIZE = (160, 24)
"""Columns and lines where no terminal says its own: a file takes wide lines."""

UNBROKEN = ("estimator", "q", "start", "dataset", "seed", "status")
"""Columns that a narrow terminal leaves as they are: it folds the scores, whose intervals break at their blanks."""

COLLAPSED = "* peak before collapse: the last validation maj@n is below half of the best"


def render(rows: Sequence[Row]) -> str:
    """The table as text, as wide as the terminal, without colours."""
    width = shutil.get_terminal_size(FALLBACK_SIZE).columns
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in table_headings(rows):
        table.add_column(heading, overflow="fold", no_wrap=heading in UNBROKEN)
    for cells in table_cells(rows):
        table.add_row(*cells)
    console = Console(width=width, color_system=None, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
    lines = [line.rstrip() for line in capture.get().strip("\n").splitlines()]
    return "\n".join([*lines, *([COLLAPSED] if any(row.collapsed for row in rows) else [])])


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Writes every run's names and numbers, unrounded, intervals and counts in columns of their own."""
    records = [_record(row) for row in rows]
    columns = list(dict.fromkeys(name for record in records for name in record))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(records)


def _record(row: Row) -> dict[str, str | float | None]:
    run = row.results
    return {
        "estimator": run.estimator,
        "q": run.q,
        "start": run.start,
        "dataset": run.dataset,
        "model": run.model,
        "seed": run.seed,
        "status": run.status,
        "best_step": run.best_step,
        "collapsed": row.collapsed,
        **{f"validation/{name}": value for name, value in run.validation.items()},
        **{f"test/{name}": value for name, value in run.test.items()},
        "folder": str(row.folder),
    }


def table_headings(rows: Sequence[Row]) -> list[str]:
    """The columns of the table."""
    fixed = ["estimator", "q", "start", "dataset", *_model_heading(rows), "seed", "status", "best step"]
    return [*fixed, *(f"{split} {name}" for split, name in _metrics(rows))]


def _model_heading(rows: Sequence[Row]) -> list[str]:
    """The model is a column only where the runs differ in it."""
    return ["model"] if len({row.results.model for row in rows}) > 1 else []


def _metrics(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """(split, name) of every metric column: validation maj@n, then all of test, n as the runs have it."""
    validation = dict.fromkeys(name for row in rows for name in score_names(row.results.validation) if "maj@" in name)
    test = dict.fromkeys(name for row in rows for name in score_names(row.results.test))
    return [*(("validation", name) for name in validation), *(("test", name) for name in test)]


def table_cells(rows: Sequence[Row]) -> Iterator[list[str]]:
    """One line of cells for each run."""
    with_model, metrics = bool(_model_heading(rows)), _metrics(rows)
    for row in rows:
        run = row.results
        model = [run.model] if with_model else []
        best_step = "-" if run.best_step is None else f"{run.best_step}{'*' if row.collapsed else ''}"
        scores = (_score(row, split, name) for split, name in metrics)
        fixed = [run.estimator, q_words(run.q), run.start, run.dataset, *model, str(run.seed), run.status, best_step]
        yield [*fixed, *scores]


def _score(row: Row, split: str, name: str) -> str:
    metrics = row.results.validation if split == "validation" else row.results.test
    return score_words(metrics, name) if name in metrics else "-"
