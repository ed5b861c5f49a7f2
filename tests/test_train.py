"""The loop with scripted parts, for the order of events and for what goes wrong; test_whole_run has the real parts."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small import run_config
from torch import Tensor

import tsallis_run.parts as parts_module
import tsallis_run.train as train_module
from tsallis_run import learning, ranks
from tsallis_run.config import RunConfig
from tsallis_run.engine.transformers import TransformersEngine
from tsallis_run.learning import Learned
from tsallis_run.packing import MicroBatch
from tsallis_run.parts import Parts, build
from tsallis_run.policy.checkpoint import Position, checkpoints
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.sampler import Sampler
from tsallis_run.scoring import Scores
from tsallis_run.stop import StopRequest
from tsallis_run.tracking.display import Display
from tsallis_run.tracking.manifest import read_manifest
from tsallis_run.tracking.records import MetricsRow, RunFolder, read_results, read_rows
from tsallis_run.train import train
from tsallis_run.types import STOP_SIGNALS, Completion, CompletionRequest, EngineError, ExitStatus, Group, UserError
from tsallis_run.weight_sync import WeightSync

SMALL = (
    "rollout=transformers",
    "tracker.wandb.mode=disabled",
    "dataset.num_train=8",
    "dataset.num_validation=2",
    "dataset.num_test=3",
    "prompts_per_step=2",
    "rollouts_per_prompt=2",
    "evaluation.num_samples=2",
    "evaluation.every_steps=2",
    "evaluation.bootstrap_resamples=10",
)
Events = list[str]


class ToldEngine(TransformersEngine):
    """The reference engine, telling what it is asked to do."""

    events: Events

    def complete(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        self.events.append(f"sample {len(requests)} with version {self.policy_version}")
        return super().complete(requests)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        super().load_weights(weights, version)
        self.events.append(f"load version {version}")


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    """What happens, in order: samples, weights loaded, optimizer steps."""
    told: Events = []

    def build_told(config: RunConfig, folder: RunFolder, display: Display) -> tuple[Parts, Position]:
        parts, position = build(config, folder, display)
        step = parts.policy.step

        def tell_step(learning_rate: float) -> float:
            told.append("step")
            return step(learning_rate)

        monkeypatch.setattr(parts.policy, "step", tell_step)
        return parts, position

    def told_engine(folder: Path, config: RunConfig, *, max_length_tokens: int, run_folder: Path) -> ToldEngine:
        engine = ToldEngine(folder, dtype="float32", trust_remote_code=False)
        engine.events = told
        return engine

    monkeypatch.setattr(train_module, "build", build_told)
    monkeypatch.setattr("tsallis_run.parts.build_engine", told_engine)
    return told


@pytest.fixture(autouse=True)
def handlers() -> Iterable[None]:
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(tmp_path: Path, *overrides: str) -> tuple[RunFolder, int]:
    config = run_config(*SMALL, *overrides)
    folder = RunFolder.create(tmp_path / "run", config)
    return folder, train(config, folder)


def test_every_sample_is_drawn_from_the_newest_weights(events: Events, tmp_path: Path) -> None:
    _, status = run(tmp_path, "num_steps=2", "estimator=garl")
    assert status == 0
    assert events == [
        "load version 0",
        "sample 4 with version 0",  # validation: 2 examples x 2 rationales, then their answers
        "sample 4 with version 0",
        "sample 4 with version 0",  # step 1: 2 prompts x 2 rollouts, no answers
        "step",
        "load version 1",
        "sample 4 with version 1",
        "step",
        "load version 2",
        "sample 4 with version 2",  # validation
        "sample 4 with version 2",
        "load version 0",  # the best one, by validation, is tested
        "sample 6 with version 0",
        "sample 6 with version 0",
    ]


def test_grpo_samples_answers_and_takes_no_step_where_no_reward_differs(events: Events, tmp_path: Path) -> None:
    folder, _ = run(tmp_path, "num_steps=1", "estimator=grpo")
    assert events[3:5] == ["sample 4 with version 0", "sample 4 with version 0"]
    assert "step" not in events
    (row,) = [row for row in read_rows(folder.metrics) if row["split"] == "train"]
    assert (row["grad_norm"], row["zero_gradient_groups"], row["policy_version"]) == (0.0, 2, 0)
    assert (row["trained_tokens"], row["backward_seconds"]) == (0, 0.0)


def test_a_finished_run_leaves_the_records_it_promises(tmp_path: Path) -> None:
    folder, _ = run(tmp_path, "num_steps=3")
    rows = read_rows(folder.metrics)
    assert [(row["split"], row["step"]) for row in rows] == [
        ("validation", 0),
        ("train", 1),
        ("train", 2),
        ("validation", 2),
        ("train", 3),
        ("validation", 3),
        ("test", 0),
    ]
    promised = {
        *("loss", "p_hat", "log_p_hat", "ess", "log10_amplification", "max_centered_weight", "grad_norm"),
        *("zero_gradient_groups", "truncated_fraction", "rationale_tokens"),
        *("generate_seconds", "score_seconds", "backward_seconds", "sync_seconds"),
    }
    assert all(promised <= row.keys() for row in rows if row["split"] == "train")
    assert all({"pass@1", "pass@2", "maj@2", "num_examples"} <= r.keys() for r in rows if r["split"] != "train")
    results = read_results(folder)
    assert results.status == "finished"
    assert results.best_step == 0
    assert results.test["maj@2"] == rows[-1]["maj@2"]
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= {
        f.name for f in folder.best.iterdir()
    }
    assert [c.name for c in checkpoints(folder.checkpoints)] == ["step-000003"]
    assert json.loads(folder.manifest.read_text())["dataset_ids_hash"]


def interrupt(monkeypatch: pytest.MonkeyPatch, *, after_updates: int) -> None:
    """SIGTERM arrives in the middle of a step."""
    step = ZeroPolicy.step

    def interrupted(policy: ZeroPolicy, learning_rate: float) -> float:
        if policy.version == after_updates:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(policy, learning_rate)

    monkeypatch.setattr(ZeroPolicy, "step", interrupted)


def assert_same_end(one: RunFolder, other: RunFolder) -> None:
    """To the bit: every number of the record, the results, the best weights, and the last weights and moments."""
    assert _without_seconds(one) == _without_seconds(other)
    assert read_results(one) == read_results(other)
    files = [folder.best / "model.safetensors" for folder in (one, other)]
    files += [checkpoints(folder.checkpoints)[-1] / "state-1-of-1.safetensors" for folder in (one, other)]
    ours, theirs, our_state, their_state = (load_file(file) for file in files)
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())
    assert all(torch.equal(weight, their_state[name]) for name, weight in our_state.items())


def _without_seconds(folder: RunFolder) -> list[dict[str, float | int | str]]:
    timed = ("_seconds", "tokens_per_second")
    return [{k: v for k, v in row.items() if not k.endswith(timed)} for row in read_rows(folder.metrics)]


PER_EXAMPLE = ("q={kind:per_example,floor:0.1,prior:1}", "estimator=garl", "estimator.normalize=false")
MEMORIES = (
    *PER_EXAMPLE,
    *("optimizer=sgd", "optimizer.momentum=0.9"),
    *("dataset.num_train=4", "dataset.label_noise.fraction=0.5", "dataset.label_noise.per=visit"),
)
"""Whatever a run remembers of earlier steps; every example is visited twice in four steps."""


@pytest.mark.parametrize(
    ("overrides", "stage", "after_updates"),
    [(("estimator=garl",), 0, 0), (("estimator=paft",), 3, 1), (("estimator=grpo",), 2, 2), (MEMORIES, 1, 1)],
    ids=["garl", "paft", "grpo", "memories"],
)
def test_a_run_that_is_told_to_stop_saves_and_goes_on_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], stage: int, after_updates: int
) -> None:
    """Behind one update the stop comes ahead of a validation, which is made up for."""
    monkeypatch.setattr("tsallis_run.batch.deserves_reward", lambda answer, _: sum(answer.ids) % 2 == 0)
    settings = ("num_steps=4", *overrides, f"zero=stage{stage}", "optimizer.schedule=linear")
    whole, _ = run(tmp_path / "whole", *settings)
    assert all(row["grad_norm"] for row in read_rows(whole.metrics) if row["split"] == "train"), "it learns"
    with monkeypatch.context() as within:
        interrupt(within, after_updates=after_updates)
        cut, status = run(tmp_path / "cut", *settings)
    assert status == ExitStatus.STOPPED
    assert [c.name for c in checkpoints(cut.checkpoints)] == [f"step-{after_updates + 1:06d}"]
    assert (read_results(cut).status, read_results(cut).best_step) == ("stopped", 0)
    assert train(run_config(*SMALL, *settings), cut) == ExitStatus.FINISHED
    assert_same_end(whole, cut)


def test_the_rollouts_of_a_step_choose_no_q_but_that_of_the_next_visit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other rationales in step 2 leave its q alone, else baseline and rollout would depend on each other."""
    settings = (*PER_EXAMPLE, "num_steps=3", "dataset.num_train=2")
    plain, _ = run(tmp_path / "plain", *settings)
    take = Sampler.take

    def other_rationales(sampler: Sampler, step: int) -> list[Group]:
        groups = take(sampler, step)
        return [_reversed(group) for group in groups] if step == 1 else groups

    monkeypatch.setattr(Sampler, "take", other_rationales)
    other, _ = run(tmp_path / "other", *settings)
    ours, theirs = ([row for row in read_rows(f.metrics) if row["split"] == "train"] for f in (plain, other))
    assert [row["q_max"] for row in ours] != [1.0] * 3
    assert ours[1]["log_p_hat"] != theirs[1]["log_p_hat"]
    same = [all(a[name] == b[name] for name in ("q", "q_min", "q_max")) for a, b in zip(ours, theirs, strict=True)]
    assert same == [True, True, False]


def _reversed(group: Group) -> Group:
    return replace(group, rollouts=tuple(replace(r, rationale=r.rationale[::-1]) for r in group.rollouts))


def test_label_noise_is_told_and_every_validation_asks_both_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = ("dataset.label_noise.fraction=0.5", "dataset.label_noise.wrong=input")
    folder, _ = run(tmp_path, "num_steps=1", "estimator=garl", *noise)
    assert "LABEL NOISE: 0.5 of examples have a wrong label (input)" in capsys.readouterr().out
    assert read_manifest(folder)["label_noise"] == "0.5 of examples have a wrong label (input)"
    numbers = {"noisy_true@1", "noisy_wrong@1", "noisy_p_true", "noisy_p_wrong", "contamination"}
    told = [numbers & row.keys() for row in read_rows(folder.metrics)]
    assert told == [numbers, set(), numbers, set()]  # validation, train, validation, test


def test_a_run_that_is_stopped_before_its_first_step_saves_nothing_and_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StopRequest, "agreed", lambda _: True)
    folder, status = run(tmp_path, "num_steps=1")
    assert (status, checkpoints(folder.checkpoints), read_rows_if_any(folder)) == (ExitStatus.STOPPED, [], [])
    monkeypatch.undo()
    assert train(run_config(*SMALL, "num_steps=1"), folder) == ExitStatus.FINISHED


def read_rows_if_any(folder: RunFolder) -> list[MetricsRow]:
    return read_rows(folder.metrics) if folder.metrics.exists() else []


def poison(monkeypatch: pytest.MonkeyPatch, *poisoned_steps: int) -> None:
    """One log-prob of these steps (from 1) is not a number."""
    steps = iter(range(1, 100))
    collect, learn = learning.collect_scores, learning.learn

    def poisoned(*arguments: Any) -> Learned:
        struck = next(steps) in poisoned_steps

        def scores_of(batches: Sequence[MicroBatch], log_probs: Sequence[Tensor], groups: Sequence[Group]) -> Scores:
            scores = collect(batches, log_probs, groups)
            if struck:
                scores.log_p_alias[1, 0] = torch.nan
            return scores

        with monkeypatch.context() as within:
            within.setattr(learning, "collect_scores", scores_of)
            return learn(*arguments)

    monkeypatch.setattr(train_module, "learn", poisoned)


@pytest.mark.parametrize("estimator", ["garl", "paft"])
def test_a_step_with_a_number_that_is_not_finite_is_left_out_counted_and_dumped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, estimator: str
) -> None:
    poison(monkeypatch, 2)
    folder, status = run(tmp_path, "num_steps=3", f"estimator={estimator}", "optimizer.schedule=linear")
    assert status == ExitStatus.FINISHED
    rows = [row for row in read_rows(folder.metrics) if row["split"] == "train"]
    assert [(row["skipped"], row["policy_version"]) for row in rows] == [(0, 1), (1, 1), (0, 2)]
    # 1, 2/3, 1/3 of 1e-3: the step that was left out does not hold the schedule back
    assert [row["learning_rate"] for row in rows] == pytest.approx([1e-3, 2e-3 / 3, 1e-3 / 3])
    (file,) = folder.bad_batches.iterdir()
    assert file.name == "step-000002-rank-0.jsonl"
    dumped = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["log_p_answer"] == "nan" for row in dumped] == [False, False, True, False]
    assert all(row["rationale_ids"] and row["rationale_coefficient"] == "nan" for row in dumped)


def test_a_run_gives_up_after_too_many_such_steps_in_a_row_and_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ("num_steps=4", "optimizer.max_skipped_steps=1")
    poison(monkeypatch, 2, 3)
    folder, status = run(tmp_path, *settings)
    assert status == ExitStatus.FAILED
    reason = "2 steps in a row had a number that is not finite (max_skipped_steps: 1)"
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"tsallis-run: failed after step 3: {reason}; to go on: tsallis-run resume={folder.path}"
    )
    results = read_results(folder)
    assert (results.status, results.reason, results.best_step) == ("failed", reason, 0)
    assert [c.name for c in checkpoints(folder.checkpoints)] == ["step-000003"]
    monkeypatch.undo()
    assert train(run_config(*SMALL, *settings), folder) == ExitStatus.FINISHED
    assert [r["skipped"] for r in read_rows(folder.metrics) if r["split"] == "train"] == [0, 1, 1, 0]


def test_a_run_whose_weights_are_not_finite_ends_without_writing_over_what_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = ZeroPolicy.step

    def spoil(policy: ZeroPolicy, learning_rate: float) -> float:
        norm = step(policy, learning_rate)
        if policy.version == 2:
            next(policy.named_weights())[1].data.view(-1)[7] = torch.inf
        return norm

    monkeypatch.setattr(ZeroPolicy, "step", spoil)
    monkeypatch.setattr(WeightSync, "check", lambda _: 0.0)  # else the probe stops the run before
    folder, status = run(tmp_path, "num_steps=3", "checkpoint.every_steps=1")
    assert status == ExitStatus.FAILED
    assert str(read_results(folder).reason).endswith("; not saved: a weight is not finite")
    assert [c.name for c in checkpoints(folder.checkpoints)] == ["step-000001"]


def test_a_run_whose_engine_fails_is_saved_and_goes_on_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, _ = run(tmp_path / "whole", "num_steps=3")
    complete = TransformersEngine.complete

    def failing(engine: TransformersEngine, requests: Sequence[CompletionRequest]) -> list[Completion]:
        if engine.policy_version == 1:
            raise EngineError("the engine did not answer within 5 s")
        return complete(engine, requests)

    monkeypatch.setattr(TransformersEngine, "complete", failing)
    cut, status = run(tmp_path / "cut", "num_steps=3")
    assert (status, read_results(cut).reason) == (ExitStatus.FAILED, "the engine did not answer within 5 s")
    assert "failed after step 1: the engine did not answer within 5 s; to go on: " in capsys.readouterr().err
    monkeypatch.undo()
    assert train(run_config(*SMALL, "num_steps=3"), cut) == ExitStatus.FINISHED
    assert_same_end(whole, cut)


def test_a_failure_that_nobody_expected_is_recorded_and_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("out of memory\nat some address")

    monkeypatch.setattr(train_module, "learn", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(tmp_path, "num_steps=1")
    results = read_results(RunFolder(tmp_path / "run"))
    assert (results.status, results.reason, results.best_step) == ("failed", "RuntimeError: out of memory", 0)


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "place",
    [
        "tsallis_run.tracking.records.flush",  # a row of metrics.jsonl
        "tsallis_run.policy.checkpoint.publish",
        "tsallis_run.policy.best.publish",
    ],
)
def test_a_full_disk_ends_the_run_in_words_and_the_run_goes_on_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    settings = ("num_steps=2", "checkpoint.every_steps=1")
    with monkeypatch.context() as within:
        within.setattr(place, full_disk)
        folder, status = run(tmp_path, *settings)
    assert status == ExitStatus.FAILED
    assert re.search(r"failed after step \d: the disk failed: .*No space left on device", capsys.readouterr().err)
    assert read_results(folder).status == "failed"
    assert train(run_config(*SMALL, *settings), folder) == ExitStatus.FINISHED
    assert [row["step"] for row in read_rows(folder.metrics) if row["split"] == "train"] == [1, 2]


def test_a_rollout_table_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tsallis_run.tracking.run_records.write_rows", full_disk)
    _, status = run(tmp_path, "num_steps=1")
    assert status == ExitStatus.FINISHED
    assert (
        "the rollout table could not be written (No space left on device); the run goes on" in capsys.readouterr().out
    )


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run of four steps that was stopped after the second."""
    with monkeypatch.context() as within:
        interrupt(within, after_updates=1)
        folder, _ = run(tmp_path, "num_steps=4", "checkpoint.every_steps=1")
    return folder


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    stopped: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    (stopped.checkpoints / "step-000002" / "position.json").write_text("{")
    assert train(run_config(*SMALL, "num_steps=4", "checkpoint.every_steps=1"), stopped) == ExitStatus.FINISHED
    output = capsys.readouterr().out
    assert "left out a damaged checkpoint" in output
    assert "goes on after step 1" in output
    assert [r["step"] for r in read_rows(stopped.metrics) if r["split"] == "train"] == [1, 2, 3, 4]


def test_it_goes_on_from_where_the_first_rank_says(
    stopped: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever checkpoint another rank's view of the file system shows as the newest."""
    monkeypatch.setattr(ranks, "decided", lambda call: (None, parts_module._start()))
    assert train(run_config(*SMALL, "num_steps=4"), stopped) == ExitStatus.FINISHED
    assert "goes on after step" not in capsys.readouterr().out


def test_best_weights_that_were_cut_short_are_told_and_done_without_only_by_force(stopped: RunFolder) -> None:
    file = stopped.path / "best-step-000000" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"best must hold the whole weights of step 0, got model\.safetensors: "):
        train(run_config(*SMALL, "num_steps=4"), stopped)
    assert train(run_config(*SMALL, "num_steps=4", "force=true"), stopped) == ExitStatus.FINISHED
    assert read_results(stopped).best_step == 2


def test_other_examples_are_told_and_taken_only_by_force(stopped: RunFolder) -> None:
    other = (*SMALL, "num_steps=4", "dataset.num_train=9")
    with pytest.raises(UserError, match=r"dataset: must hold the examples that the run in .* began with"):
        train(run_config(*other), stopped)
    assert train(run_config(*other, "force=true"), stopped) == ExitStatus.FINISHED


def test_the_manifest_tells_of_every_start(stopped: RunFolder) -> None:
    train(run_config(*SMALL, "num_steps=4"), stopped)
    manifest = json.loads(stopped.manifest.read_text())
    assert (manifest["step"], [start["step"] for start in manifest["earlier_starts"]]) == (2, [0])
