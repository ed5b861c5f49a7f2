"""The door through which a run's rows go: record, mirrors, display, alarms."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import run_config

from tsallis_run.tracking.display import LineDisplay
from tsallis_run.tracking.records import RunFolder, read_rows
from tsallis_run.tracking.run_records import RunRecords

CONFIG = run_config("estimator=grpo", "tracker=tensorboard")


def idle(step: int) -> dict[str, float | int | str]:
    """A step without a gradient."""
    return {"step": step, "split": "train", "loss": 0.0, "grad_norm": 0.0, "zero_gradient_fraction": 1.0}


def alarms(lines: list[str]) -> list[str]:
    return [line.splitlines()[0] for line in lines if line.startswith("ALARM")]


def opened(folder: RunFolder, lines: list[str], step: int) -> RunRecords:
    display = LineDisplay(lines.append, total_steps=60, clock=lambda: 0.0)
    return RunRecords.open(CONFIG, folder, display, run_id="1a2b", step=step, validated_step=-1)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", CONFIG)


def test_an_alarm_reaches_the_terminal_and_the_mirrors_and_is_no_row_of_the_record(folder: RunFolder) -> None:
    lines: list[str] = []
    records = opened(folder, lines, step=0)
    for step in range(1, 31):
        records.train(idle(step))
    assert alarms(lines) == ["ALARM at step 20: all groups have zero gradient"]
    (file,) = folder.tensorboard.iterdir()
    assert b"alarms/zero_gradient/text_summary" in file.read_bytes()
    assert {row["split"] for row in read_rows(folder.metrics)} == {"train"}


def test_a_resumed_run_does_not_repeat_the_alarms_of_its_earlier_start(folder: RunFolder) -> None:
    before: list[str] = []
    records = opened(folder, before, step=0)
    for step in range(1, 41):
        records.train(idle(step))
    behind: list[str] = []
    records = opened(folder, behind, step=30)
    for step in range(31, 61):
        records.train(idle(step))
    assert (len(alarms(before)), alarms(behind)) == (1, [])


def test_other_ranks_record_nothing_and_raise_no_alarm() -> None:
    lines: list[str] = []
    records = RunRecords.silent(LineDisplay(lines.append, total_steps=60, clock=lambda: 0.0))
    for step in range(1, 41):
        records.train(idle(step))
    assert alarms(lines) == []
