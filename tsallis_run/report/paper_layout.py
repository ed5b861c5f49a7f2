"""The result table in the layout of the paper's Tables 1 to 3: estimator and q down, datasets across."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tsallis_run.report.paper import DATASETS, PaperScore, paper_score
from tsallis_run.report.runs import Row, q_words
from tsallis_run.report.series import Series, by_setting, estimator_words
from tsallis_run.tracking.scores import BOUNDS, score_names

T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % quantiles of Student's t for 1, 2, ... 9 degrees of freedom."""
T_QUANTILE_OF_MORE = 2.228
"""For 10, and an upper bound for more."""

Interval = tuple[float, float]
"""Low and high, as fractions."""


@dataclass(frozen=True)
class Score:
    """One metric of one series, as fractions."""

    mean: float
    """Over seeds."""
    over_examples: Interval | None
    """The mean of the runs' bounds; None where a run has none."""
    over_seeds: Interval | None
    """None for a single seed."""
    paper: PaperScore | None
    is_best: bool
    collapsed: bool
    """Some run's validation collapsed behind the tested checkpoint."""


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    estimator: str
    q: str
    variant: str
    seeds: str
    """`3`, or `2 of 3` where one has no test yet."""
    scores: tuple[Score | None, ...]
    """One for each column of the table."""


@dataclass(frozen=True)
class ResultTable:
    """All runs of one model and start."""

    model: str
    start: str
    columns: tuple[tuple[str, str], ...]
    """(dataset, metric)."""
    lines: tuple[Line, ...]

    @property
    def title(self) -> str:
        """`qwen3_0_6b, cold start`."""
        return f"{self.model}, {self.start} start"


def result_tables(rows: Iterable[Row]) -> list[ResultTable]:
    """One table for each model and start, series of one estimator, q and variant side by side."""
    tables: dict[tuple[str, str], list[Series]] = {}
    for setting, series in by_setting(rows).items():
        tables.setdefault((setting.model, setting.start), []).extend(series)
    return [_table(model, start, series) for (model, start), series in tables.items()]


def _table(model: str, start: str, series: Sequence[Series]) -> ResultTable:
    columns = _columns(series)
    best = [max((_mean(one, *column) for one in series), default=0.0) for column in columns]
    contested = len(series) > 1
    lines: dict[tuple[str, str, str], list[Series]] = {}
    for one in series:
        lines.setdefault((one.estimator, q_words(one.q), one.variant), []).append(one)
    return ResultTable(
        model,
        start,
        columns,
        tuple(
            Line(
                estimator=estimator_words(estimator),
                q=q,
                variant=variant,
                seeds=_seeds(across),
                scores=tuple(
                    _score(across, column, greatest if contested else math.inf)
                    for column, greatest in zip(columns, best, strict=True)
                ),
            )
            for (estimator, q, variant), across in lines.items()
        ),
    )


def _columns(series: Sequence[Series]) -> tuple[tuple[str, str], ...]:
    """pass@1, pass@n, maj@n of every dataset, the paper's first; another n has columns of its own."""
    names: dict[str, dict[str, None]] = {}
    for one in series:
        found = names.setdefault(one.setting.dataset, {})
        for row in one.finished:
            found.update(dict.fromkeys(score_names(row.results.test)))
    order = sorted(
        names, key=lambda dataset: (DATASETS.index(dataset) if dataset in DATASETS else len(DATASETS), dataset)
    )
    return tuple((dataset, name) for dataset in order for name in names[dataset] if "_" not in name)


def _seeds(across: Sequence[Series]) -> str:
    words = []
    for one in across:
        finished, begun = len(one.finished), len(one.rows)
        words.append(str(finished) if finished == begun else f"{finished} of {begun}")
    return ", ".join(dict.fromkeys(words))


def _tests(series: Series, metric: str) -> list[dict[str, float]]:
    return [row.results.test for row in series.finished if metric in row.results.test]


def _mean(series: Series, dataset: str, metric: str) -> float:
    """Over seeds; 0 where there is none, which is never the best."""
    tests = _tests(series, metric) if series.setting.dataset == dataset else []
    return statistics.fmean(test[metric] for test in tests) if tests else 0.0


def _score(across: Sequence[Series], column: tuple[str, str], best: float) -> Score | None:
    dataset, metric = column
    for series in across:
        if series.setting.dataset == dataset and (tests := _tests(series, metric)):
            mean = statistics.fmean(test[metric] for test in tests)
            return Score(
                mean=mean,
                over_examples=_mean_bounds(tests, metric),
                over_seeds=t_interval([test[metric] for test in tests]),
                paper=paper_score(series.finished[0], metric),
                is_best=0 < mean == best,
                collapsed=series.collapsed > 0,
            )
    return None


def _mean_bounds(tests: Sequence[dict[str, float]], metric: str) -> Interval | None:
    low, high = (metric + bound for bound in BOUNDS)
    if not all(low in test and high in test for test in tests):
        return None
    return statistics.fmean(test[low] for test in tests), statistics.fmean(test[high] for test in tests)


def t_interval(values: Sequence[float]) -> Interval | None:
    """95 % interval of the mean of fractions by Student's t, within [0, 1]; None for fewer than two values."""
    degrees = len(values) - 1
    if degrees < 1:
        return None
    quantile = T_QUANTILES[degrees - 1] if degrees <= len(T_QUANTILES) else T_QUANTILE_OF_MORE
    mean, half_width = statistics.fmean(values), quantile * statistics.stdev(values) / math.sqrt(len(values))
    return max(0.0, mean - half_width), min(1.0, mean + half_width)


def percent(fraction: float) -> str:
    """`38.3`, as the paper writes it."""
    return f"{100 * fraction:.1f}"


def interval_words(interval: Interval) -> str:
    """`[35.5, 41.2]`."""
    return f"[{percent(interval[0])}, {percent(interval[1])}]"


def notes_on(tables: Sequence[ResultTable]) -> list[str]:
    """What the signs in the tables mean, those that occur."""
    scores = [score for table in tables for line in table.lines for score in line.scores if score]
    notes = ["Test scores in percent, of the checkpoint with the best validation maj@n; the best of a column in bold."]
    if any(score.over_examples for score in scores):
        notes.append(
            "[low, high]: over examples, by the bootstrap of each run; of several seeds the mean of their bounds."
        )
    if any(score.over_seeds for score in scores):
        notes.append("seeds [low, high]: 95 % interval of the mean over seeds, by Student's t.")
    if any(score.collapsed or (score.paper and score.paper.collapsed) for score in scores):
        notes.append("* peak before collapse: the last validation maj@n is below half of the best.")
    if any(score.paper for score in scores):
        notes.append("paper: arXiv:2604.25907v1, Tables 1 to 3, for the same model, dataset, start, estimator and q.")
    return notes


def render_markdown(tables: Sequence[ResultTable]) -> str:
    """The tables in Markdown, each under its title, and what their signs mean."""
    sections = [f"## {table.title}\n\n{_markdown_table(table)}" for table in tables]
    return "\n\n".join([*sections, *(note.replace("*", "\\*") for note in notes_on(tables))]) + "\n"


def _markdown_table(table: ResultTable) -> str:
    with_variant = any(line.variant for line in table.lines)
    headings = ["estimator", "q", *(["variant"] if with_variant else []), "seeds"]
    lines = [[*headings, *(f"{dataset} {metric}" for dataset, metric in table.columns)]]
    lines.append(["---"] * len(lines[0]))
    for line in table.lines:
        variant = [line.variant] if with_variant else []
        lines.append([line.estimator, line.q, *variant, line.seeds, *map(_markdown_score, line.scores)])
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines)


def _markdown_score(score: Score | None) -> str:
    if score is None:
        return "-"
    mean = f"**{percent(score.mean)}**" if score.is_best else percent(score.mean)
    parts = [mean + ("\\*" if score.collapsed else "")]
    if score.over_examples:
        parts.append(interval_words(score.over_examples))
    if score.over_seeds:
        parts.append(f"seeds {interval_words(score.over_seeds)}")
    if score.paper:
        parts.append(f"paper {score.paper.percent:.1f}" + ("\\*" if score.paper.collapsed else ""))
    return " ".join(parts)
