"""Checkpoints are whole or left out, and open at any ZeRO stage."""

from __future__ import annotations

import errno
import json
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from small import run_config

from tsallis_run.config import RunConfig
from tsallis_run.policy.checkpoint import (
    MARKER,
    Position,
    best_steps,
    checkpoints,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.policy.token_scorer import load_scorer
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.types import DiskError, UserError


def position(step: int, best_step: int | None = None) -> Position:
    return Position(step, step, best_step, {"maj@16": 0.5}, skipped_in_a_row=1, wandb_run_id="abc")


def policy(config: RunConfig) -> ZeroPolicy:
    return ZeroPolicy(load_scorer(model_folder(config.model, seed=0), config.model), config)


@pytest.fixture(scope="module")
def trained() -> ZeroPolicy:
    return policy(run_config())


def save(folder: Path, trained: ZeroPolicy, *steps: int, keep: int = 2) -> None:
    for step in steps:
        save_checkpoint(folder, trained, position(step), run_config(f"checkpoint.keep={keep}"))


def no_warning(text: str) -> None:
    raise AssertionError(text)


def test_a_checkpoint_gives_back_the_position_and_the_weights(trained: ZeroPolicy, tmp_path: Path) -> None:
    save(tmp_path, trained, 3)
    checkpoint = newest_checkpoint(tmp_path, no_warning)
    assert checkpoint is not None
    assert (checkpoint.position, checkpoint.policy_version) == (position(3), 0)
    fresh = policy(run_config("zero=stage3", "seed=1"))
    load_checkpoint(checkpoint, fresh)
    theirs = {name: weight.clone() for name, weight in trained.weights()}
    assert all(torch.equal(weight, theirs[name]) for name, weight in fresh.weights())


def test_it_holds_no_pickle_and_the_configuration(trained: ZeroPolicy, tmp_path: Path) -> None:
    save(tmp_path, trained, 3)
    names = {file.name for file in (tmp_path / "step-000003").iterdir()}
    assert names == {"state-1-of-1.safetensors", "random-0.json", "position.json", "config.yaml", MARKER}
    assert "learning_rate: 0.001" in (tmp_path / "step-000003" / "config.yaml").read_text()


def test_the_newest_ones_are_kept(trained: ZeroPolicy, tmp_path: Path) -> None:
    save(tmp_path, trained, 1, 2, 10)
    assert [c.name for c in checkpoints(tmp_path)] == ["step-000002", "step-000010"]
    save(tmp_path, trained, 11, keep=1)
    assert [c.name for c in checkpoints(tmp_path)] == ["step-000011"]


def test_a_damaged_one_ahead_does_not_push_a_whole_one_out(trained: ZeroPolicy, tmp_path: Path) -> None:
    save(tmp_path, trained, 1, 4)
    (tmp_path / "step-000004" / "position.json").unlink()
    save(tmp_path, trained, 2, keep=1)
    assert [c.name for c in checkpoints(tmp_path)] == ["step-000002", "step-000004"]


def test_one_that_was_cut_off_does_not_count(trained: ZeroPolicy, tmp_path: Path) -> None:
    save(tmp_path, trained, 3)
    (tmp_path / "step-000003" / MARKER).unlink()
    (tmp_path / ".step-000004").mkdir()
    assert newest_checkpoint(tmp_path, no_warning) is None


def cut_short(checkpoint: Path) -> None:
    file = checkpoint / "state-1-of-1.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def spoil_the_header(checkpoint: Path) -> None:
    file = checkpoint / "state-1-of-1.safetensors"
    file.write_bytes(b"\xff" * 8 + file.read_bytes()[8:])


def another_format(checkpoint: Path) -> None:
    marker = json.loads((checkpoint / MARKER).read_text())
    (checkpoint / MARKER).write_text(json.dumps(marker | {"format": 2}))


DAMAGES = {
    "a file that is missing": (lambda c: (c / "random-0.json").unlink(), "random-0.json is missing"),
    "a file cut short": (cut_short, "state-1-of-1.safetensors must have .* bytes, got"),
    "a spoilt header": (spoil_the_header, "state-1-of-1.safetensors: .*header"),
    "another format": (another_format, "its format must be 1, got 2"),
    "an empty marker": (lambda c: (c / MARKER).write_text(""), "COMPLETE: Expecting value"),
    "a deep marker": (lambda c: (c / MARKER).write_text("[" * 100_000), "COMPLETE: maximum recursion depth"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_one_is_told_and_the_one_before_is_taken(
    trained: ZeroPolicy, tmp_path: Path, damage, message: str
) -> None:
    save(tmp_path, trained, 3, 4)
    damage(tmp_path / "step-000004")
    warnings: list[str] = []
    checkpoint = newest_checkpoint(tmp_path, warnings.append)
    assert checkpoint is not None
    assert checkpoint.position.step == 3
    (warning,) = warnings
    assert warning.startswith(f"left out a damaged checkpoint, {tmp_path / 'step-000004'}: ")
    assert re.search(message, warning)


def test_a_run_whose_every_checkpoint_is_damaged_is_refused(trained: ZeroPolicy, tmp_path: Path) -> None:
    save(tmp_path, trained, 3)
    cut_short(tmp_path / "step-000003")
    with pytest.raises(UserError, match=r"resume: must have a whole checkpoint, got .*step-000003: state-1-of-1"):
        newest_checkpoint(tmp_path, lambda _: None)


def test_a_checkpoint_of_another_model_is_refused(trained: ZeroPolicy, tmp_path: Path) -> None:
    save(tmp_path, trained, 3)
    checkpoint = newest_checkpoint(tmp_path, no_warning)
    assert checkpoint is not None
    message = r"same model \(Qwen3ForCausalLM .* of Qwen3ForCausalLM with 449,"
    with pytest.raises(UserError, match=message):
        load_checkpoint(checkpoint, policy(run_config("model.architecture.hidden_size=64")))


def test_best_steps_are_those_that_whole_checkpoints_name(trained: ZeroPolicy, tmp_path: Path) -> None:
    for step, best_step in ((1, None), (2, 2), (3, 2), (4, 4)):
        save_checkpoint(tmp_path, trained, position(step, best_step), run_config("checkpoint.keep=9"))
    cut_short(tmp_path / "step-000004")
    assert best_steps(tmp_path) == {2}


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 1 MB, as where a disk is full; the state has 5."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_leaves_the_older_checkpoint_and_nothing_half_written(
    trained: ZeroPolicy, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    save(tmp_path, trained, 3)
    request.getfixturevalue("small_files")
    with pytest.raises(DiskError, match=r"File too large|os error 27"):
        save(tmp_path, trained, 4)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000003"]
    assert newest_checkpoint(tmp_path, no_warning) is not None


def test_a_full_disk_is_told_by_its_own_name(
    trained: ZeroPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tsallis_run.policy.checkpoint.publish", full)
    with pytest.raises(DiskError, match="No space left on device"):
        save(tmp_path, trained, 4)
    assert list(tmp_path.iterdir()) == []


def test_every_weight_lies_in_it_whole(trained: ZeroPolicy, tmp_path: Path) -> None:
    save(tmp_path, trained, 3)
    with safe_open(tmp_path / "step-000003" / "state-1-of-1.safetensors", "pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    assert found == {f"weight/{name}": tuple(weight.shape) for name, weight in trained.named_weights()}
