"""What the doctor finds: one calm line each, and what to change."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tsallis_run.types import ExitStatus, UserError


class Verdict(StrEnum):
    """How a finding turns out."""

    OK = "ok"
    WARNING = "warning"
    """The run would work; something may be forgotten."""
    FAILS = "fails"
    """The run would not work."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    station: str
    """What was looked at, in a word."""
    text: str
    """What was found."""
    verdict: Verdict = Verdict.OK
    change: str = ""
    """What to change; "" where nothing is to be."""
    status: ExitStatus = ExitStatus.FAILED
    """Of the doctor, where it fails."""

    def __str__(self) -> str:
        line = f"{self.verdict:8} {self.station:11} {self.text}"
        return line + (f"\n{'':8} {'':11} change: {self.change}" if self.change else "")


def warning(station: str, text: str, change: str) -> Finding:
    """The run would work."""
    return Finding(station, text, Verdict.WARNING, change)


def failure(station: str, text: str, change: str = "") -> Finding:
    """The run would fail."""
    return Finding(station, text, Verdict.FAILS, change)


def mistake(station: str, error: UserError) -> Finding:
    """The run would end with this message."""
    text, _, change = str(error).replace("\n", "; ").rpartition("; ")
    return Finding(station, text or change, Verdict.FAILS, change if text else "", ExitStatus.USER_ERROR)


def worst(findings: Sequence[Finding]) -> Finding:
    """Of what the ranks have found, in their order, the gravest; told with its rank where that is not the first."""
    number = max(range(len(findings)), key=lambda rank: (list(Verdict).index(findings[rank].verdict), -rank))
    found = findings[number]
    return replace(found, text=f"rank {number}: {found.text}") if number else found


class Findings:
    """Shows each as it comes and remembers how the doctor ends."""

    def __init__(self) -> None:
        self.status = ExitStatus.FINISHED

    def add(self, *findings: Finding) -> None:
        """Takes what every rank has found, and shows it on the first."""
        for finding in findings:
            if _rank() == "0":
                print(finding, flush=True)
            self._take(finding)

    def add_own(self, finding: Finding) -> None:
        """Takes what this rank alone may have found, and shows it."""
        rank = _rank()
        own = finding if rank == "0" else replace(finding, text=f"rank {rank}: {finding.text}")
        print(own, flush=True)
        self._take(finding)

    def _take(self, finding: Finding) -> None:
        if finding.verdict is Verdict.FAILS and self.status is ExitStatus.FINISHED:
            self.status = finding.status


def _rank() -> str:
    """Ranks are told apart before they have joined."""
    return os.environ.get("RANK", "0")
