"""What is off in a run, told at its onset: what was seen, why it matters, what to try. Pure: rows in, alarms out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tsallis_run.config import RunConfig
from tsallis_run.tracking.alarm_rules import RULES, History, Limits
from tsallis_run.tracking.records import MetricsRow

QUIET_STEPS = 100
"""An alarm is told again only where its condition was gone for so long."""


@dataclass(frozen=True)
class Alarm:
    """Something that is off."""

    name: str
    step: int
    """At which it was noticed."""
    headline: str
    seen: str
    why: str
    remedy: str

    @property
    def text(self) -> str:
        """All of it, in four lines."""
        head = f"ALARM at step {self.step}: {self.headline}"
        return f"{head}\n  seen  {self.seen}\n  why   {self.why}\n  try   {self.remedy}"


@dataclass
class Watch:
    """Listens to a run's rows and tells each alarm once, at its onset."""

    limits: Limits
    _history: History = field(init=False)
    _last_seen: dict[str, int] = field(default_factory=dict)
    """Rule -> step at which its condition last held."""

    def __post_init__(self) -> None:
        self._history = History(self.limits)

    def hear(self, row: MetricsRow) -> list[Alarm]:
        """The alarms that begin with this row."""
        self._history = self._history.with_row(row)
        is_validation, step = row["split"] == "validation", int(row["step"])
        rules = [rule for rule in RULES if row["split"] != "test" and rule.by_validation == is_validation]
        seen = {rule: words for rule in rules if (words := rule.sees(self._history)) is not None}
        begins = [rule for rule in seen if step - self._last_seen.get(rule.name, -QUIET_STEPS - 1) > QUIET_STEPS]
        self._last_seen |= {rule.name: step for rule in seen}
        return [Alarm(rule.name, step, rule.headline, seen[rule], rule.why, rule.remedy) for rule in begins]


def alarms_of(rows: Iterable[MetricsRow], config: RunConfig) -> list[Alarm]:
    """Every alarm that the rows of a run have raised."""
    watch = Watch(Limits.of(config))
    return [alarm for row in rows for alarm in watch.hear(row)]
