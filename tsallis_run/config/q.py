"""Tsallis q of a run: a number, or a schedule over the estimator's steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Tag

from tsallis_run.config.part import Fraction, Part, PositiveInt
from tsallis_run.types import schedule_label


class QSchedule(Part):
    """q that moves from `start` to `end`; `tsallis_run.estimators.q_schedule.q_at` says how, and when to use which."""

    kind: Literal["constant", "step", "linear", "cosine"]
    start: Fraction
    end: Fraction
    num_steps: PositiveInt

    @property
    def label(self) -> str:
        """In a few words, such as `1->0 step at 200`."""
        return schedule_label(self.kind, self.start, self.end, self.num_steps)


def _form(q: Any) -> str:
    return "schedule" if isinstance(q, Mapping | QSchedule) else "number"


def _number_where_it_stays(q: float | QSchedule) -> float | QSchedule:
    """Equal runs have equal configurations: a schedule that does not move is its number."""
    return q.start if isinstance(q, QSchedule) and (q.kind == "constant" or q.start == q.end) else q


TsallisQ = Annotated[
    Annotated[Fraction, Tag("number")] | Annotated[QSchedule, Tag("schedule")],
    Discriminator(_form),
    AfterValidator(_number_where_it_stays),
]
"""A number in [0, 1], or a schedule that moves."""
