"""The doctor on a good set-up and on broken ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from small import run_config
from torch import Tensor

from tsallis_run.config import RunConfig, validate
from tsallis_run.doctor import machine
from tsallis_run.doctor.examination import examine
from tsallis_run.engine.transformers import TransformersEngine
from tsallis_run.tracking.records import RunFolder

SMALL = (
    "task=doctor",
    "rollout=transformers",
    "dataset.num_train=64",
    "dataset.num_validation=4",
    "dataset.num_test=4",
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "trial").mkdir()
    return RunFolder(tmp_path / "trial")


def told(config: RunConfig, folder: RunFolder, capfd: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    """The exit status, and station -> what was found, its verdict first."""
    status = examine(config, folder)
    lines = [line.split(maxsplit=2) for line in capfd.readouterr().out.splitlines() if line[:1] in "owf"]
    return status, {station: f"{verdict} {text}" for verdict, station, text in lines}


def test_a_good_set_up_is_found_good_and_nothing_is_left_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from tsallis_run.cli import main; main()", *SMALL, "output_dir=run"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    found = [line.split()[:2] for line in done.stdout.splitlines() if not line.startswith(" ")]
    stations = ["output", "versions", "devices", "model", "chat", "data", "lengths", "tracker", "disk", "memory"]
    stations += ["engine", "sync", "rollouts", "backward", "time"]
    assert [station for _, station in found] == stations
    assert {verdict for verdict, _ in found} <= {"ok", "warning"}
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_is_found_before_anything_is_built(
    folder: RunFolder, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "free_bytes", lambda: 2**20)
    status, found = told(run_config(*SMALL), folder, capfd)
    assert status == 1
    assert found["memory"].startswith("fails about ")
    assert "of 0.0 GiB that are free" in found["memory"]
    assert "engine" not in found


def test_too_little_room_on_the_disk_is_found(
    folder: RunFolder, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "free_bytes", lambda: 2**20)  # ends the examination early
    monkeypatch.setattr(machine, "disk_free_bytes", lambda folder: 2**20)
    _, found = told(run_config(*SMALL), folder, capfd)
    assert found["disk"].startswith("fails checkpoints take up to ")


def test_a_row_that_breaks_its_schema_is_found(
    folder: RunFolder, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps({"question": "?", "answer": 5}))
    (tmp_path / "test.jsonl").write_text("")
    config = run_config("task=doctor", "dataset=gsm8k", "rollout=transformers").model_dump()
    config["dataset"]["path"] = str(tmp_path)
    status, found = told(validate(config), folder, capfd)
    assert status == 2
    assert found["inputs"] == "fails dataset.path: row 1 of train.jsonl must hold a string in 'answer', got 5"


def test_an_engine_that_keeps_stale_weights_is_found(
    folder: RunFolder, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stamp_alone(engine: TransformersEngine, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        engine.policy_version = version

    monkeypatch.setattr(TransformersEngine, "load_weights", stamp_alone)
    status, found = told(run_config(*SMALL), folder, capfd)
    assert status == 1
    assert found["sync"].startswith("fails StaleWeightsError: ")
    assert "rollouts" not in found


def test_a_package_of_another_version_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = machine._installed
    monkeypatch.setattr(machine, "_installed", lambda name: "4.0.0" if name == "transformers" else real(name))
    finding = machine.versions(run_config())
    assert str(finding).startswith("fails    versions    transformers 4.0.0 (needs ")
    assert machine.versions(run_config()).change == "make setup"


def test_what_this_project_needs_is_installed_here() -> None:
    assert {"torch", "deepspeed", "transformers", "vllm"} <= {one.name for one in machine.requirements()}
    assert str(machine.versions(run_config())).startswith("ok ")
