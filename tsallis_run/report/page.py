"""One self-contained page: result tables, figures, rollouts and runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, StrictUndefined, Template

from tsallis_run import __version__
from tsallis_run.report.paper_layout import ResultTable, interval_words, notes_on, percent
from tsallis_run.report.plots import Plot, plots
from tsallis_run.report.rollouts import SampledGroup, files_of, printable, read_groups, sample_words, vote_words
from tsallis_run.report.runs import Row
from tsallis_run.report.series import Series, Setting, by_setting
from tsallis_run.report.text import COLLAPSED, table_cells, table_headings
from tsallis_run.tracking.rollout_rows import RolloutFile

SPLITS = ("train", "validation", "test")

MAX_GROUPS, MAX_GROUPS_PER_FILE = 160, 4
"""Of the whole page, and of one file of rollouts."""
MAX_SAMPLES = 8
"""Of a group. The three bounds and the next keep the page below some 6 MB, whatever the sweep."""
MAX_CHARS = 2000
"""Of a text; the middle of a longer one is left out."""


@dataclass(frozen=True)
class Figures:
    """The plots of one setting."""

    setting: Setting
    plots: Sequence[Plot]


@dataclass(frozen=True)
class ShownFile:
    """Some groups of one file of rollouts."""

    title: str
    groups: Sequence[SampledGroup]
    num_groups: int
    """Of the file."""


@dataclass(frozen=True)
class ShownRun:
    """The rollouts of the first seed of a series."""

    series: Series
    row: Row
    files: Sequence[ShownFile]


def render_page(rows: Sequence[Row], tables: Sequence[ResultTable]) -> str:
    """The page as HTML; nothing in it is loaded from elsewhere, and whatever a model wrote is escaped."""
    settings = by_setting(rows)
    return _template().render(
        rows=rows,
        version=__version__,
        tables=tables,
        notes=notes_on(tables),
        figures=[Figures(setting, plots(series)) for setting, series in settings.items()],
        rollouts=shown_runs([one for series in settings.values() for one in series]),
        max_samples=MAX_SAMPLES,
        headings=[*table_headings(rows), "folder"],
        lines=[[*cells, _place(row)] for cells, row in zip(table_cells(rows), rows, strict=True)],
        collapsed=COLLAPSED,
    )


def _place(row: Row) -> str:
    """The folder, and of a failed run why."""
    return f"{row.folder}: {row.results.reason}" if row.results.reason else str(row.folder)


def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        percent=percent, interval=interval_words, text=shortened, sample_words=sample_words, vote_words=vote_words
    )
    source = resources.files("tsallis_run.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source)


def shown_runs(series: Iterable[Series]) -> list[ShownRun]:
    """Of each series the first seed that has rollouts: some groups of its most telling files."""
    chosen = [(one, row, files) for one in series if (row := _first_with_rollouts(one)) and (files := _telling(row))]
    num_files = sum(len(files) for _, _, files in chosen)
    num_groups = max(1, min(MAX_GROUPS_PER_FILE, MAX_GROUPS // max(num_files, 1)))
    return [ShownRun(one, row, [_shown(row, file, num_groups) for file in files]) for one, row, files in chosen]


def _first_with_rollouts(series: Series) -> Row | None:
    return next((row for row in series.rows if files_of(row)), None)


def _telling(row: Row) -> list[RolloutFile]:
    """First and last training step, the best validation (or else the last) and the test, those that there are."""
    files = files_of(row)
    train, validation, test = ([file for file in files if file.split == split] for split in SPLITS)
    best = [file for file in validation if file.step == row.results.best_step]
    return [*train[:1], *train[1:][-1:], *(best or validation[-1:]), *test]


def _shown(row: Row, file: RolloutFile, num_groups: int) -> ShownFile:
    groups = read_groups(row, file)
    return ShownFile(file.title, groups[:num_groups], len(groups))


def shortened(text: str) -> str:
    """The text without control characters and, where it is long, without its middle."""
    if len(text) > MAX_CHARS:
        half = MAX_CHARS // 2
        text = f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
    return printable(text)
