"""Where the doctor tries a run out."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from typing import Any

import pytest
from small import run_config

from tsallis_run.doctor.findings import Verdict
from tsallis_run.doctor.place import trial_folder


def test_a_trial_lies_on_the_disk_of_the_run_and_leaves_nothing(tmp_path: Path) -> None:
    config = run_config().model_copy(update={"output_dir": str(tmp_path / "not" / "yet" / "there")})
    with trial_folder(config) as (folder, finding):
        assert folder.parent == tmp_path
        (folder / "something").touch()
    assert finding.verdict is Verdict.OK
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told_and_the_trial_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.TemporaryDirectory

    def read_only(*, dir: Path | None = None, prefix: str) -> Any:
        if dir == tmp_path:
            raise OSError(errno.EROFS, "Read-only file system")
        return make(prefix=prefix)

    monkeypatch.setattr(tempfile, "TemporaryDirectory", read_only)
    with trial_folder(run_config().model_copy(update={"output_dir": str(tmp_path)})) as (folder, finding):
        assert folder.is_dir()
        assert tmp_path not in folder.parents
    assert str(finding).splitlines() == [
        f"fails    output      {tmp_path} cannot be written (Read-only file system)",
        "                     change: set output_dir to a folder that can",
    ]
