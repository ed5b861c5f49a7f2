"""What is told of a finding, and by which rank."""

from __future__ import annotations

import pytest

from tsallis_run.doctor.findings import Finding, Findings, failure, mistake, warning, worst
from tsallis_run.types import ExitStatus, UserError


def test_of_all_ranks_findings_the_gravest_is_told_with_its_rank() -> None:
    fine, odd, broken = Finding("memory", "fits"), warning("memory", "hardly fits", ""), failure("memory", "too large")
    assert worst([fine, fine]) is fine
    assert worst([odd, fine]) is odd
    assert (worst([fine, odd, broken, broken]).verdict, worst([fine, odd, broken, broken]).text) == (
        "fails",
        "rank 2: too large",
    )


def test_what_one_rank_alone_has_met_is_told_by_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    findings = Findings()
    findings.add(Finding("data", "is there"), mistake("inputs", UserError("")))
    findings.add_own(failure("engine", "OutOfMemoryError: 2 GiB"))
    assert capsys.readouterr().out == "fails    engine      rank 1: OutOfMemoryError: 2 GiB\n"
    assert findings.status == ExitStatus.USER_ERROR, "of the first that fails"
