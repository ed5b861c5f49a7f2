"""docs/results/: what is kept of the runs of a study, and the table that it makes."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DIGITS = 4
"""Of the numbers that are kept; seeds differ in the second."""
IDENTITY = ("group", "run", "seed")


@dataclass(frozen=True)
class Run:
    """One run of a study."""

    group: str
    """The setting in which runs are compared; "" where there is one only."""
    name: str
    """What sets it apart from others of the group, up to its seed."""
    seed: int
    numbers: Mapping[str, float]
    """By heading; a number that the run has not is missing."""
    curves: Mapping[str, Mapping[int, float]]
    """Quantity -> step -> value."""


def write_runs(folder: Path, study: str, headings: Sequence[str], runs: Sequence[Run]) -> None:
    """Writes STUDY.csv, one line for each run, and STUDY_curves.csv, one for each value of a curve."""
    folder.mkdir(exist_ok=True)
    identities = [(run.group, run.name, run.seed) for run in runs]
    numbers = ([_short(run.numbers.get(heading)) for heading in headings] for run in runs)
    lines = [[*identity, *values] for identity, values in zip(identities, numbers, strict=True)]
    _write(folder / f"{study}.csv", [[*IDENTITY, *headings], *lines])
    values = [
        [number, quantity, step, _short(value)]
        for number, run in enumerate(runs, 1)
        for quantity, curve in run.curves.items()
        for step, value in curve.items()
    ]
    _write(folder / f"{study}_curves.csv", [["line", "quantity", "step", "value"], *values])


def read_runs(folder: Path, study: str) -> list[Run]:
    """What `write_runs` wrote; a curve names its run by its line."""
    curves: dict[int, dict[str, dict[int, float]]] = {}
    for line in _read(folder / f"{study}_curves.csv"):
        of_run = curves.setdefault(int(line["line"]), {})
        of_run.setdefault(line["quantity"], {})[int(line["step"])] = float(line["value"])
    return [
        Run(
            line["group"],
            line["run"],
            int(line["seed"]),
            {heading: float(value) for heading, value in line.items() if heading not in IDENTITY and value},
            curves.get(number, {}),
        )
        for number, line in enumerate(_read(folder / f"{study}.csv"), 1)
    ]


def by_name(runs: Iterable[Run]) -> dict[tuple[str, str], list[Run]]:
    """(group, name) -> the runs that differ in their seed alone, in the order of the first."""
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        found.setdefault((run.group, run.name), []).append(run)
    return found


def over_seeds(curves: Sequence[Mapping[int, float]]) -> dict[int, tuple[float, float, float]]:
    """Step -> (lowest, mean, highest), at the steps that all have."""
    found = [curve for curve in curves if curve]
    steps = sorted(set.intersection(*(set(curve) for curve in found))) if found else []
    values = {step: [curve[step] for curve in found] for step in steps}
    return {step: (min(ys), sum(ys) / len(ys), max(ys)) for step, ys in values.items()}


def table(runs: Sequence[Run], forms: Mapping[str, str]) -> Iterator[str]:
    """The lines of a Markdown table: every number a mean over seeds with their range.

    Args:
        forms: heading -> how its numbers are written, for the columns that are shown.
    """
    has_groups = any(run.group for run in runs)
    yield _line([*(["setting"] if has_groups else []), "run", "seeds", *forms])
    yield "|" + "---|" * (len(forms) + 2 + has_groups)
    for (group, name), alike in by_name(runs).items():
        cells = [words([run.numbers.get(heading) for run in alike], form) for heading, form in forms.items()]
        yield _line([*([group] if has_groups else []), name, str(len(alike)), *cells])


def words(values: Sequence[float | None], form: str) -> str:
    """The mean and, of seeds that differ, their range: `0.52 [0.41, 0.63]`; `(2 of 3)` where others have no value."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    low, mean, high = (format(value, form) for value in (min(known), statistics.fmean(known), max(known)))
    spread = f" [{low}, {high}]" if low != high else ""
    return f"{mean}{spread}" + (f" ({len(known)} of {len(values)})" if len(known) < len(values) else "")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.{DIGITS}g}"


def _write(path: Path, lines: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
