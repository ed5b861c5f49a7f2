"""Runs that differ in their seed alone, and settings in which such runs are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from tsallis_run.report.runs import Row, q_order, q_words

IRRELEVANT = ("seed", "output_dir", "resume", "tracker", "launch", "checkpoint", "zero", "optimizer.micro_batch_tokens")
"""Keys that change no result: where and how a run is done."""

MAX_VARIANT_KEYS = 3
"""Of a label, where they suffice to tell the variants apart."""


@dataclass(frozen=True)
class Setting:
    """Where estimators are compared: one table of the paper, one dataset of it."""

    dataset: str
    model: str
    start: str

    @classmethod
    def of(cls, row: Row) -> Setting:
        """The setting of a run."""
        return cls(row.results.dataset, row.results.model, row.results.start)


@dataclass(frozen=True)
class Series:
    """One line of a plot and one row of a table: runs that differ in their seed alone."""

    setting: Setting
    estimator: str
    q: float | str | None
    variant: str
    """What sets it apart from others of the same estimator and q, as overrides; "" where nothing does."""
    rows: tuple[Row, ...]
    """One for each seed."""

    @property
    def label(self) -> str:
        """`GARL, q = 0.75`, and the variant behind it."""
        return ", ".join([estimator_words(self.estimator), *self._choices])

    @property
    def short_label(self) -> str:
        """The same where the estimator is told elsewhere."""
        return ", ".join(self._choices) or estimator_words(self.estimator)

    @property
    def _choices(self) -> list[str]:
        q = [] if self.q is None else [f"q = {q_words(self.q)}"]
        return [*q, *([self.variant] if self.variant else [])]

    @property
    def finished(self) -> tuple[Row, ...]:
        """The runs that reached their test."""
        return tuple(row for row in self.rows if row.results.test)

    @property
    def collapsed(self) -> int:
        """How many of the runs with a test collapsed."""
        return sum(row.collapsed for row in self.finished)


def estimator_words(name: str) -> str:
    """`GARL`, `Dr. GRPO`: an estimator's name as it is written in text."""
    return {"dr_grpo": "Dr. GRPO", "maxrl": "MaxRL", "star": "STaR", "rb_rloo": "RB-RLOO"}.get(
        name, name if name in ("evaluation", "reward") else name.upper()
    )


def by_setting(rows: Iterable[Row]) -> dict[Setting, list[Series]]:
    """The series of every setting, ordered by estimator and q."""
    settings: dict[Setting, list[Row]] = {}
    for row in rows:
        settings.setdefault(Setting.of(row), []).append(row)
    return {setting: _series_of(setting, of_setting) for setting, of_setting in settings.items()}


def _series_of(setting: Setting, rows: Sequence[Row]) -> list[Series]:
    def choice(row: Row) -> tuple[bool, str, tuple[float, str]]:
        """As in the paper's tables, estimators without q come first."""
        return (row.results.q is not None, row.results.estimator, q_order(row.results.q))

    ordered = sorted(rows, key=choice)
    return [series for _, alike in groupby(ordered, choice) for series in _variants(setting, list(alike))]


def _variants(setting: Setting, rows: Sequence[Row]) -> list[Series]:
    """Runs of one estimator and q, parted by the settings in which they differ."""
    flat = [_flat(row.config) for row in rows]
    differing = _differing(flat)
    variants: dict[tuple[str, ...], list[Row]] = {}
    for row, config in zip(rows, flat, strict=True):
        words = tuple(f"{key}={config[key]}" for key in differing) if config else ()
        variants.setdefault(words, []).append(row)
    shown = MAX_VARIANT_KEYS if len({words[:MAX_VARIANT_KEYS] for words in variants}) == len(variants) else None
    run = rows[0].results
    return [
        Series(setting, run.estimator, run.q, ", ".join(words[:shown]), _one_per_seed(alike))
        for words, alike in variants.items()
    ]


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted key -> value, without what changes no result."""
    flat: dict[str, str] = {}
    for name, value in config.items():
        key = prefix + name
        if key not in IRRELEVANT:
            flat |= _flat(value, f"{key}.") if isinstance(value, Mapping) else {key: str(value)}
    return flat


def _differing(flat: Sequence[Mapping[str, str]]) -> list[str]:
    """Keys that every run with a configuration has, with more than one value: other versions had other keys."""
    configured = [config for config in flat if config]
    common = [key for key in (configured[0] if configured else {}) if all(key in config for config in configured)]
    return [key for key in common if len({config[key] for config in configured}) > 1]


def _one_per_seed(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Of several runs of one seed the one that got furthest, the newest of these: repeats are no independent draws."""
    chosen: dict[int, Row] = {}
    for row in sorted(rows, key=_progress):
        chosen[row.results.seed] = row
    return tuple(chosen[seed] for seed in sorted(chosen))


def _progress(row: Row) -> tuple[bool, int, float]:
    steps = max((int(metrics["step"]) for metrics in row.metrics), default=0)
    return (bool(row.results.test), steps, row.folder.stat().st_mtime)
