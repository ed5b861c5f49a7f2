"""What the paper reports for Qwen3-0.6B: Tables 1 to 3 of arXiv:2604.25907v1, in percent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tsallis_run.report.runs import NO_TRAINING, Row

MODEL = "qwen3_0_6b"
MODEL_PATH = "Qwen/Qwen3-0.6B"

ESTIMATOR_SWITCHES: dict[str, dict[str, Any]] = {
    "garl": {"baseline": True, "jackknife": False, "answer_term": True},
    "grpo": {"baseline": "mean", "scale": "std"},
}
"""Of the paper's estimators; a run with another value is another estimator."""


@dataclass(frozen=True)
class PaperScore:
    """One number of the paper's tables."""

    percent: float
    collapsed: bool
    """Marked as a peak before collapse."""
    table: int


Key = tuple[str, str, str, float | None, str]
"""dataset, start, estimator, q, metric."""

DATASETS = ("finqa", "hotpotqa", "musique")
METRICS = ("pass@1", "pass@16", "maj@16")

_ZERO = (0.0, 0.0, 0.0)

TABLE_1: Mapping[tuple[str, float | None], tuple[float, float, float]] = {
    ("grpo", None): _ZERO,
    ("garl", 0.0): _ZERO,
    ("garl", 0.25): _ZERO,
    ("garl", 0.5): _ZERO,
    ("garl", 0.75): (30.5, 61.1, 38.3),
    ("garl", 1.0): (21.9, 58.7, 33.5),
}
"""Cold start, FinQA: (estimator, q) -> METRICS."""

TABLE_2: Mapping[tuple[str, str, float | None], tuple[tuple[float, float, float], ...]] = {
    ("warm", "grpo", None): ((18.9, 48.4, 26.9), (29.1, 55.1, 33.5), (13.6, 37.3, 15.8)),
    ("cold", "garl", 0.75): ((30.5, 61.1, 38.3), (53.5, 74.1, 57.2), (26.8, 58.9, 34.8)),
    ("cold", "garl", 1.0): ((21.9, 58.7, 33.5), (48.7, 75.5, 56.6), (21.6, 58.1, 32.5)),
}
"""(start, estimator, q) -> METRICS of each of DATASETS."""

TABLE_3: Mapping[tuple[str, float | None], tuple[str, str, str]] = {
    (NO_TRAINING, None): ("12.6", "22.2", "8.9"),
    ("grpo", None): ("26.9", "33.5", "15.8"),
    ("garl", 0.0): ("38.3", "21.6*", "9.1*"),
    ("garl", 0.25): ("38.7", "22.9*", "24.3*"),
    ("garl", 0.75): ("37.6", "46.8*", "19.7*"),
    ("paft", 0.25): ("26.6", "47.0", "9.0"),
    ("paft", 0.75): ("28.6", "47.9", "22.4"),
}
"""Warm start: (estimator, q) -> maj@16 of each of DATASETS; * marks a peak before collapse."""


def paper_score(row: Row, metric: str) -> PaperScore | None:
    """The paper's number for the setting of a run: model, dataset, start, estimator and q; None where it has none."""
    run = row.results
    if run.model != MODEL or isinstance(run.q, str) or not _is_the_papers_estimator(row):
        return None
    return SCORES.get((run.dataset, run.start, run.estimator, run.q, metric))


def _is_the_papers_estimator(row: Row) -> bool:
    if row.results.estimator == NO_TRAINING:
        return bool(row.config.get("model", {}).get("path") == MODEL_PATH)
    switches, estimator = ESTIMATOR_SWITCHES.get(row.results.estimator, {}), row.config.get("estimator", {})
    return all(estimator.get(name, value) == value for name, value in switches.items())


def _scores() -> dict[Key, PaperScore]:
    """All three tables; where two of them have the same cell, they agree."""
    scores: dict[Key, PaperScore] = {}
    for (estimator, q), third in TABLE_3.items():
        for dataset, words in zip(DATASETS, third, strict=True):
            score = PaperScore(float(words.rstrip("*")), words.endswith("*"), table=3)
            scores[dataset, "warm", estimator, q, "maj@16"] = score
    for (start, estimator, q), second in TABLE_2.items():
        for dataset, percents in zip(DATASETS, second, strict=True):
            for metric, percent in zip(METRICS, percents, strict=True):
                scores[dataset, start, estimator, q, metric] = PaperScore(percent, collapsed=False, table=2)
    for (estimator, q), first in TABLE_1.items():
        for metric, percent in zip(METRICS, first, strict=True):
            scores["finqa", "cold", estimator, q, metric] = PaperScore(percent, collapsed=False, table=1)
    return scores


SCORES = _scores()
