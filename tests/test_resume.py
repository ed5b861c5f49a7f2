"""What a run may change between two starts, and what would make it another one."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import run_config

from tsallis_run.config import validate
from tsallis_run.resume import changes, is_over, open_run, saved_config
from tsallis_run.tracking.records import Results, RunFolder, write_results
from tsallis_run.types import UserError


def changed(*overrides: str, before: tuple[str, ...] = ()) -> list[str]:
    return [key for key, _, _ in changes(run_config(*before), run_config(*before, *overrides))]


@pytest.mark.parametrize(
    "override",
    [
        "tracker.wandb.project=other",
        "launch.num_processes=2",
        "checkpoint.every_steps=7",
        "zero=stage3",
        "num_steps=401",
        "optimizer.micro_batch_tokens=99",
        "rollout.timeout_seconds=9",
        "output_dir=elsewhere",
        "force=true",
    ],
)
def test_where_and_how_a_run_runs_may_change(override: str) -> None:
    assert changed(override) == []


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("q=0.5", "q"),
        ("seed=1", "seed"),
        ("optimizer.learning_rate=0.1", "optimizer.learning_rate"),
        ("optimizer=sgd", "optimizer.name"),
        ("dataset.label_noise.fraction=0.1", "dataset.label_noise.fraction"),
        ("optimizer.betas=[0.8,0.99]", "optimizer.betas"),
        ("estimator=garl", "estimator.name"),  # and not all that follows from it
        ("estimator=grpo", "estimator.name"),  # which has no q, and a loss of its own
        ("rollout=transformers", "rollout.name"),
        ("dataset.num_digits=3", "dataset.num_digits"),
        ("evaluation.num_samples=2", "evaluation.num_samples"),
    ],
)
def test_what_a_run_computes_may_not(override: str, key: str) -> None:
    assert changed(override) == [key]


def test_circumstances_leave_the_identity_alone_and_meaning_does_not() -> None:
    plain = run_config().identity
    circumstances = ("tracker.rollouts_every_steps=7", "launch.num_processes=2", "checkpoint.keep=5", "force=true")
    assert run_config(*circumstances, "output_dir=elsewhere", "resume=there").identity == plain
    assert len({plain, run_config("q=0.5").identity, run_config("zero=stage3").identity}) == 3


def test_more_steps_are_another_run_where_the_schedule_ends_with_them() -> None:
    assert changed("num_steps=401", before=("optimizer.schedule=cosine",)) == ["num_steps"]


def started(path: Path, *overrides: str) -> RunFolder:
    """A run that got as far as its first record."""
    folder = open_run(path, run_config(*overrides))
    folder.metrics.write_text("{}\n")
    return folder


def test_a_run_goes_on_with_new_circumstances_in_its_config(tmp_path: Path) -> None:
    folder = started(tmp_path / "run")
    open_run(folder.path, run_config("tracker.wandb.mode=disabled", "resume=elsewhere"))
    config = validate(folder.read_config())
    assert (config.tracker.wandb.mode, config.output_dir, config.resume) == ("disabled", str(folder.path), None)


def test_another_run_is_refused_in_one_line_for_each_setting(tmp_path: Path) -> None:
    folder = started(tmp_path / "run")
    with pytest.raises(UserError) as refused:
        open_run(folder.path, run_config("q=1", "seed=3"))
    assert str(refused.value).splitlines() == [
        f"{key}: must stay {before} for the run in {folder.path} to go on, got {now}; leave it as it was, "
        "choose another output_dir for a new run, or set force=true"
        for key, before, now in (("seed", 0, 3), ("q", 0.75, 1.0))
    ]
    assert saved_config(folder).q == 0.75


def test_force_takes_it_once(tmp_path: Path) -> None:
    folder = started(tmp_path / "run")
    open_run(folder.path, run_config("q=1", "force=true"))
    assert validate(folder.read_config()).force, "the ranks read it there"
    assert (saved_config(folder).q, saved_config(folder).force) == (1.0, False)


def test_a_run_that_ended_before_its_first_record_does_not_block_the_corrected_command(tmp_path: Path) -> None:
    open_run(tmp_path / "run", run_config("q=0.25"))
    assert saved_config(open_run(tmp_path / "run", run_config("q=1"))).q == 1.0


def finish(folder: RunFolder, *, status: str = "finished") -> None:
    write_results(folder, Results.of(run_config(), status=status, best_step=0, validation={}, test={}))


def test_a_run_is_over_where_that_very_run_finished(tmp_path: Path) -> None:
    folder = started(tmp_path / "run")
    assert not is_over(folder.path, run_config())
    finish(folder, status="stopped")
    assert not is_over(folder.path, run_config())
    finish(folder)
    for override in ("tracker.wandb.mode=disabled", "zero=stage3", "optimizer.micro_batch_tokens=99"):
        assert is_over(folder.path, run_config(override))
    for override in ("q=1", "num_steps=401", "force=true"):
        assert not is_over(folder.path, run_config(override))


def test_a_finished_run_on_other_files_looks_at_their_examples_first(tmp_path: Path) -> None:
    for name in ("here", "elsewhere"):
        (tmp_path / name).mkdir()
    here, elsewhere = (("dataset=gsm8k", f"dataset.path={tmp_path / name}") for name in ("here", "elsewhere"))
    folder = started(tmp_path / "run", *here)
    finish(folder)
    assert is_over(folder.path, run_config(*here))
    assert not is_over(folder.path, run_config(*elsewhere))


def test_an_end_that_is_none_any_more_is_forgotten(tmp_path: Path) -> None:
    folder = started(tmp_path / "run")
    finish(folder)
    open_run(folder.path, run_config("num_steps=401"))
    assert not folder.results.exists()


def test_a_folder_without_a_run_has_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"resume: must be a run folder with its config\.yaml, got "):
        saved_config(RunFolder(tmp_path))


def test_a_tilde_that_no_shell_has_opened_is_the_users_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = run_config("output_dir='~/mine'", "resume='~/yours'")
    assert (config.output_dir, config.resume) == (str(tmp_path / "mine"), str(tmp_path / "yours"))
