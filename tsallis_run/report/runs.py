"""Run folders -> what each run came to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsallis_run.tracking.records import MetricsRow, Results, RunFolder, read_results, read_rows
from tsallis_run.tracking.scores import collapsed, majority_name
from tsallis_run.types import UserError, q_label

NO_TRAINING = "evaluation"
"""Stands for the estimator of a run that only evaluated."""


@dataclass(frozen=True)
class Row:
    """One run."""

    folder: Path
    results: Results
    """Of a run without results.json: what config.yaml and the validations so far say, status unfinished."""
    config: dict[str, Any]
    """config.yaml; {} where it is missing."""
    metrics: tuple[MetricsRow, ...]
    """metrics.jsonl, oldest first; empty where it is missing."""

    @property
    def validations(self) -> list[tuple[int, float]]:
        """(step, maj@n) of every validation, oldest first."""
        return _validations(self.metrics)

    @property
    def collapsed(self) -> bool:
        """True where the test shows a peak that the run did not hold."""
        return collapsed([majority for _, majority in self.validations])


def result_table(folders: Iterable[Path]) -> list[Row]:
    """The runs in and under `folders`, each once, ordered by dataset, model, start, estimator, q and seed.

    Raises:
        UserError: for folders that do not exist or hold no run, all of them together, and for records of a run that
            cannot be read.
    """
    found = {folder: list(_find_runs(folder)) for folder in folders}
    faults = [_describe_missing(folder) for folder, runs in found.items() if not runs]
    if faults:
        raise UserError("\n".join(faults))
    unique = {run.path.resolve(): run for runs in found.values() for run in runs}
    return sorted(map(_read_run, unique.values()), key=_order)


def _find_runs(folder: Path) -> Iterator[RunFolder]:
    """Run folders at any depth, but for those that another took the place of; what lies in a run belongs to it."""
    run = RunFolder(folder)
    if run.holds_a_run():
        yield run
    elif folder.is_dir():
        for child in sorted(folder.iterdir()):
            is_looked_into = child.is_dir() and not child.is_symlink() and not child.name.startswith(".")
            if is_looked_into and not RunFolder(child).is_aside:
                yield from _find_runs(child)


def _describe_missing(folder: Path) -> str:
    if not folder.is_dir():
        return f"FOLDER: must be an existing folder, got {folder}; check the path"
    return f"FOLDER: must be or hold a run folder (one with config.yaml or results.json), got {folder}; check the path"


def _read_run(run: RunFolder) -> Row:
    config = run.read_config() if run.config_yaml.is_file() else {}
    metrics = read_rows(run.metrics) if run.metrics.is_file() else []
    results = read_results(run) if run.results.is_file() else _unfinished(run, config, metrics)
    if config.get("task") == "evaluate":
        results = dataclasses.replace(results, estimator=NO_TRAINING, q=None)
    return Row(run.path, results, config, tuple(metrics))


def _unfinished(run: RunFolder, config: dict[str, Any], metrics: Iterable[MetricsRow]) -> Results:
    """What a run without results.json has to show so far.

    Raises:
        UserError: where config.yaml lacks a key.
    """
    best = _best_validation(metrics)
    try:
        return Results(
            status="unfinished",
            best_step=int(best["step"]) if best else None,
            estimator=config["estimator"]["name"],
            q=q_label(**q) if isinstance(q := config["q"], dict) else q,
            model=config["model"]["name"],
            dataset=config["dataset"]["name"],
            start=config["start"]["name"],
            seed=config["seed"],
            validation={name: float(value) for name, value in best.items() if name not in ("step", "split")},
            test={},
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{run.config_yaml}: must be the configuration of a run, got no {error}") from None


def _best_validation(metrics: Iterable[MetricsRow]) -> MetricsRow:
    """The first of the rows with the greatest validation maj@n; {} without a validation."""
    scored = [
        (float(row[name]), row) for row in metrics if row.get("split") == "validation" and (name := majority_name(row))
    ]
    return max(scored, key=lambda pair: pair[0])[1] if scored else {}


def _validations(metrics: Iterable[MetricsRow]) -> list[tuple[int, float]]:
    validations = (row for row in metrics if row.get("split") == "validation")
    return [(int(row["step"]), float(row[name])) for row in validations if (name := majority_name(row))]


def q_words(q: float | str | None) -> str:
    """q as tables show it: `0.75`, a schedule's own words, `-` for none."""
    return "-" if q is None else q if isinstance(q, str) else f"{q:g}"


def q_order(q: float | str | None) -> tuple[float, str]:
    """Sorts q: none comes before every number, a schedule behind."""
    return (-1.0 if q is None else math.inf if isinstance(q, str) else q, str(q))


def _order(row: Row) -> tuple[str, str, str, str, tuple[float, str], int, str]:
    run = row.results
    return (run.dataset, run.model, run.start, run.estimator, q_order(run.q), run.seed, str(row.folder))
