"""Files of rollouts: written, found and read again."""

from __future__ import annotations

import dataclasses
import json

import pytest
from rollout_rows import answered, sampled

from tsallis_run.tracking.records import RunFolder
from tsallis_run.tracking.rollout_rows import read_rollouts, rollout_files, write_rows
from tsallis_run.types import UserError


def test_rows_come_back_as_they_were_written(tmp_path):
    rows = [sampled(rationale="one\ntwo\u2028three"), sampled(log_p_answer=None)]
    assert read_rollouts(write_rows(RunFolder(tmp_path), rows)) == rows


def test_files_are_found_in_the_order_of_their_steps_training_first(tmp_path):
    for step in (1000000, 50):
        write_rows(RunFolder(tmp_path), [sampled(step=step)])
        write_rows(RunFolder(tmp_path), [answered("4", split="validation", step=step)])
    write_rows(RunFolder(tmp_path), [answered("4", split="test", step=50)])
    (tmp_path / "rollouts" / "notes.txt").write_text("no rollouts")
    (tmp_path / "rollouts" / ".test.jsonl.unfinished").write_text("cut")
    files = rollout_files(RunFolder(tmp_path))
    assert [file.title for file in files] == [
        "step 50",
        "step 1000000",
        "validation at step 50",
        "validation at step 1000000",
        "test",
    ]
    assert [read_rollouts(file.path)[0].split for file in files] == ["train"] * 2 + ["validation"] * 2 + ["test"]


def test_a_run_without_rollouts_has_no_files(tmp_path):
    assert rollout_files(RunFolder(tmp_path)) == []


def test_rows_of_other_versions_are_read_with_what_they_have(tmp_path):
    path = write_rows(RunFolder(tmp_path), [sampled()])
    row = dataclasses.asdict(sampled())
    for name in ("split", "aliases", "answer_ended", "right", "elected"):
        del row[name]
    path.write_text(json.dumps(row | {"later": 1}) + "\n")
    assert read_rollouts(path) == [dataclasses.replace(sampled(), aliases=())]


def test_a_line_that_is_no_rollout_is_named(tmp_path):
    path = write_rows(RunFolder(tmp_path), [sampled()])
    path.write_text(path.read_text() + '{"step": 1}\n')
    with pytest.raises(
        UserError, match=r"step-000050\.jsonl, line 2: must be a rollout, got one missing .* 'example_id'"
    ):
        read_rollouts(path)
