"""task=evaluate: what it says, what it leaves, and how it fails."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from small import run_config
from torch import Tensor

from tsallis_run.config import RunConfig
from tsallis_run.engine.transformers import TransformersEngine
from tsallis_run.evaluate_only import evaluate_only
from tsallis_run.tracking.records import RunFolder, read_results, read_rows
from tsallis_run.types import Completion, CompletionRequest, EngineError, ExitStatus, UserError

SMALL = (
    "task=evaluate",
    "rollout=transformers",
    "dataset.num_train=8",
    "dataset.num_validation=2",
    "dataset.num_test=3",
    "evaluation.num_samples=2",
    "evaluation.bootstrap_resamples=10",
)


class TiredEngine(TransformersEngine):
    """Fails at one of its calls, and remembers that it was closed."""

    fails_at = ""
    closed = False

    def complete(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        if self.fails_at == "complete":
            raise EngineError("out of order")
        return super().complete(requests)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        if self.fails_at == "load_weights":
            raise EngineError("out of order")
        super().load_weights(weights, version)

    def close(self) -> None:
        TiredEngine.closed = True


def evaluated(tmp_path: Path, *overrides: str) -> tuple[RunFolder, int]:
    config = run_config(*SMALL, *overrides)
    folder = RunFolder.create(tmp_path / "run", config)
    return folder, evaluate_only(config, folder)


def test_it_says_first_what_it_will_do_and_leaves_its_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, status = evaluated(tmp_path)
    *summary, result = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in summary] == ["model", "data", "start", "engine", "run", "records"]
    assert "no training; the test split with 2 answers each" in summary[4]
    assert result.startswith("step 0 test  maj@2 ")
    assert status == ExitStatus.FINISHED
    assert [(row["step"], row["split"]) for row in read_rows(folder.metrics)] == [(0, "test")]
    assert read_results(folder).test["num_examples"] == 3
    assert folder.manifest.is_file()


@pytest.mark.parametrize("call", ["load_weights", "complete"])
def test_an_engine_that_fails_is_told_in_results_json_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], call: str
) -> None:
    def build(folder: Path, config: RunConfig, *, max_length_tokens: int, run_folder: Path) -> TiredEngine:
        return TiredEngine(folder, dtype="float32", trust_remote_code=False)

    monkeypatch.setattr("tsallis_run.evaluate_only.build_engine", build)
    monkeypatch.setattr(TiredEngine, "fails_at", call)
    monkeypatch.setattr(TiredEngine, "closed", False)
    folder, status = evaluated(tmp_path)
    results = read_results(folder)
    assert (status, results.status, results.reason) == (ExitStatus.FAILED, "failed", "out of order")
    assert TiredEngine.closed
    assert "tsallis-run: failed while it evaluated: out of order; to go on: " in capsys.readouterr().err


def test_a_users_mistake_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.max_prompt_tokens: must leave prompts"):
        evaluated(tmp_path, "dataset.max_prompt_tokens=1")
    assert not RunFolder(tmp_path / "run").results.exists()
