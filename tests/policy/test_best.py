"""best/ leads to whole weights, at every instant."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small import run_config

from tsallis_run.policy.best import forget_best, return_to_best, save_best
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.policy.token_scorer import load_scorer
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.types import DiskError


@pytest.fixture(scope="module")
def trained() -> ZeroPolicy:
    config = run_config()
    return ZeroPolicy(load_scorer(model_folder(config.model, seed=0), config.model), config)


def save_tokenizer(folder: Path) -> None:
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_best_leads_to_the_newest_best_and_back_again(trained: ZeroPolicy, tmp_path: Path) -> None:
    best = tmp_path / "best"
    for step in (0, 50):
        save_best(best, step, trained, save_tokenizer)
        assert best.resolve().name == f"best-step-{step:06d}"
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names(best)
    return_to_best(best, 0)
    assert best.resolve().name == "best-step-000000"
    assert names(tmp_path) == {"best", "best-step-000000", "best-step-000050"}


def test_weights_that_nobody_names_any_more_go(trained: ZeroPolicy, tmp_path: Path) -> None:
    for step in (0, 50, 100):
        save_best(tmp_path / "best", step, trained, save_tokenizer)
    forget_best(tmp_path / "best", keep={50, 100})
    assert names(tmp_path) == {"best", "best-step-000050", "best-step-000100"}


def test_a_failed_writing_leaves_best_where_it_was(
    trained: ZeroPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_best(tmp_path / "best", 0, trained, save_tokenizer)

    def full(unfinished: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tsallis_run.policy.best.publish", full)
    with pytest.raises(DiskError, match="No space left on device"):
        save_best(tmp_path / "best", 50, trained, save_tokenizer)
    assert names(tmp_path) == {"best", "best-step-000000"}
    assert load_file(tmp_path / "best" / "model.safetensors")


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"config\.json is missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights"),
        (cut_short, r"model\.safetensors: .*header"),
    ],
)
def test_weights_that_are_not_whole_are_refused(tmp_path: Path, damage, message: str) -> None:
    folder = tmp_path / "best-step-000050"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file({"weight": torch.ones(4)}, folder / "model.safetensors")
    return_to_best(tmp_path / "best", 50)
    damage(folder)
    with pytest.raises(ValueError, match=message):
        return_to_best(tmp_path / "best", 50)
