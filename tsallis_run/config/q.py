"""Tsallis q of a run: a number, a schedule over the estimator's steps, or one of each example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from tsallis_run.config.part import Fraction, Number, Part, PositiveInt
from tsallis_run.types import q_label

SCHEDULES = ("constant", "step", "linear", "cosine")
PER_EXAMPLE = "per_example"


def _known(kind: Any) -> Any:
    if kind not in SCHEDULES:
        raise ValueError(f"must be one of {', '.join(SCHEDULES)}, {PER_EXAMPLE}")
    return kind


class QSchedule(Part):
    """q that moves from `start` to `end`; `tsallis_run.estimators.q_schedule.q_at` says how, and when to use which."""

    kind: Annotated[Literal["constant", "step", "linear", "cosine"], BeforeValidator(_known)]
    start: Fraction
    end: Fraction
    num_steps: PositiveInt


class QPerExample(Part):
    """q of each example, from its last visit; `tsallis_run.estimators.q_per_example.q_of` says how."""

    kind: Literal["per_example"]
    floor: Annotated[float, Number, Field(gt=0, lt=1)]
    prior: Fraction


MovingQ = QSchedule | QPerExample


def label_of(q: float | MovingQ) -> str:
    """In a few words, such as `0.75`, `1->0 step at 200` or `per example, floor 0.1`."""
    return f"{q:g}" if isinstance(q, float) else q_label(**q.model_dump())


def _form(q: Any) -> str:
    kind = q.get("kind") if isinstance(q, Mapping) else getattr(q, "kind", None)
    if kind == PER_EXAMPLE:
        return PER_EXAMPLE
    return "schedule" if isinstance(q, Mapping | QSchedule) else "number"


def _number_where_it_stays(q: float | MovingQ) -> float | MovingQ:
    """Equal runs have equal configurations: a schedule that does not move is its number."""
    return q.start if isinstance(q, QSchedule) and (q.kind == "constant" or q.start == q.end) else q


TsallisQ = Annotated[
    Annotated[Fraction, Tag("number")]
    | Annotated[QSchedule, Tag("schedule")]
    | Annotated[QPerExample, Tag(PER_EXAMPLE)],
    Discriminator(_form),
    AfterValidator(_number_where_it_stays),
]
"""A number in [0, 1], a schedule that moves, or one of each example."""
