"""What the doctor finds: one calm line each, and what to change."""

from __future__ import annotations

import os
from dataclasses import dataclass
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


class Findings:
    """Shows each as it comes, on the first rank, and remembers how the doctor ends."""

    def __init__(self) -> None:
        self.status = ExitStatus.FINISHED

    def add(self, *findings: Finding) -> None:
        """Takes and shows them."""
        for finding in findings:
            if os.environ.get("RANK", "0") == "0":  # ranks are told apart before they have joined
                print(finding, flush=True)
            if finding.verdict is Verdict.FAILS and self.status is ExitStatus.FINISHED:
                self.status = finding.status
