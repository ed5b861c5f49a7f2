from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path

import pytest
from small import run_config

from tsallis_run.config import validate
from tsallis_run.tracking import Trackers
from tsallis_run.tracking.manifest import read_manifest, write_manifest
from tsallis_run.tracking.records import MetricsFile, Results, RunFolder, read_results, read_rows, write_results
from tsallis_run.types import UserError

ROWS = [
    {"step": 0, "split": "validation", "maj@16": 0.0, "num_examples": 64},
    {"step": 1, "split": "train", "loss": -1.5e-9, "phase": "estimator"},
    {"step": 2, "split": "train", "loss": 0.1 + 0.2, "phase": "estimator"},
]


def metrics_with(path: Path, rows: list[dict[str, float | int | str]]) -> MetricsFile:
    metrics = MetricsFile(path)
    for row in rows:
        metrics.log(row)
    return metrics


def test_rows_come_back_as_they_were_logged(tmp_path):
    metrics_with(tmp_path / "metrics.jsonl", ROWS)
    assert read_rows(tmp_path / "metrics.jsonl") == ROWS


def test_a_row_is_in_the_file_as_soon_as_it_is_logged(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    metrics.log(ROWS[0])
    assert read_rows(tmp_path / "metrics.jsonl") == ROWS[:1]


@pytest.mark.parametrize("num_bytes_lost", [1, 2, 20])
def test_a_last_line_cut_in_the_middle_costs_that_row_only(tmp_path, num_bytes_lost):
    path = tmp_path / "metrics.jsonl"
    metrics_with(path, ROWS)
    os.truncate(path, path.stat().st_size - num_bytes_lost)
    assert read_rows(path) == ROWS[:2]


def test_a_last_line_cut_within_a_character_costs_that_row_only(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "split": "train"}\n{"name": "\xc3')
    assert read_rows(path) == [{"step": 1, "split": "train"}]


def test_a_resumed_run_does_not_glue_its_first_row_to_a_cut_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics_with(path, ROWS)
    os.truncate(path, path.stat().st_size - 5)
    metrics_with(path, ROWS[2:])
    assert read_rows(path) == ROWS


def test_rewinding_forgets_the_rows_after_the_step_and_no_others(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = metrics_with(path, ROWS)
    assert metrics.rewind(1, 0) == read_rows(path) == ROWS[:2]
    metrics.log(ROWS[2])
    assert read_rows(path) == ROWS


def test_rewinding_forgets_a_validation_that_will_be_made_again(tmp_path):
    validation = {"step": 2, "split": "validation", "maj@16": 0.5}
    metrics = metrics_with(tmp_path / "metrics.jsonl", [*ROWS, validation])
    assert metrics.rewind(2, 2) == [*ROWS, validation]
    assert metrics.rewind(2, 0) == ROWS
    assert metrics.rewind(0, -1) == []


def test_rewinding_forgets_a_test_whatever_step_it_names(tmp_path):
    metrics = metrics_with(tmp_path / "metrics.jsonl", [*ROWS, {"step": 0, "split": "test", "maj@16": 0.5}])
    metrics.rewind(2, 0)
    assert read_rows(tmp_path / "metrics.jsonl") == ROWS


def test_a_broken_line_before_the_last_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nnot json\n{"step": 2}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2: must be a JSON object"):
        read_rows(path)


@pytest.mark.parametrize("line", [b"\xff", b"[" * 100_000])
def test_a_line_that_no_program_of_ours_wrote_is_a_mistake(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl"):
        read_rows(path)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_does_not_know_is_refused_by_name(tmp_path, value):
    metrics = metrics_with(tmp_path / "metrics.jsonl", ROWS)
    with pytest.raises(AssertionError, match=f"step 3: train log_p_hat must be finite, got {value}"):
        metrics.log({"step": 3, "split": "train", "log_p_hat": value})
    assert read_rows(tmp_path / "metrics.jsonl") == ROWS


def test_a_row_without_a_split_is_refused(tmp_path):
    with pytest.raises(AssertionError, match="needs step and split"):
        MetricsFile(tmp_path / "metrics.jsonl").log({"step": 1, "loss": 0.5})


def test_trackers_hand_every_row_to_each_in_their_order():
    heard = []

    class Listener:
        def __init__(self, name):
            self.name = name

        def log(self, row):
            heard.append((self.name, row["step"]))

    trackers = Trackers((Listener("record"), Listener("mirror")))
    trackers.log(ROWS[0])
    trackers.log(ROWS[1])
    assert heard == [("record", 0), ("mirror", 0), ("record", 1), ("mirror", 1)]


def test_the_saved_configuration_validates_to_the_same_run(tmp_path):
    config = run_config("q=0.25", "optimizer.epsilon=1e-30")
    folder = RunFolder.create(tmp_path / "new" / "run", config)
    assert validate(folder.read_config()) == config
    assert folder.config_yaml.read_text().startswith("task: train\nseed: 0\nq: 0.25\n")


def test_a_folder_holds_records_from_the_first_row_checkpoint_or_result_on(tmp_path):
    folder = RunFolder.create(tmp_path / "run", run_config())
    folder.metrics.touch()
    write_results(folder, dataclasses.replace(example_results(), status="failed"))
    assert not folder.holds_records()
    write_results(folder, example_results())
    assert folder.holds_records()
    folder.results.unlink()
    metrics_with(folder.metrics, ROWS[:1])
    assert folder.holds_records()
    folder.metrics.unlink()
    folder.checkpoints.mkdir()
    assert folder.holds_records()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match=r"^output_dir: must be a folder that can be written, got "):
            RunFolder.create(path, run_config())


@pytest.mark.parametrize(
    ("text", "got"),
    [(b"- 1\n", "list"), (b"a: [\n", "YAML"), (b"a: \xff\n", "utf-8"), (b"[" * 10_000, "recursion")],
)
def test_a_spoilt_configuration_file_is_named(tmp_path, text, got):
    (tmp_path / "config.yaml").write_bytes(text)
    with pytest.raises(UserError, match=rf"config\.yaml: must .*{got}"):
        RunFolder(tmp_path).read_config()


def example_results() -> Results:
    scores = {"maj@16": 0.5, "maj@16_low": 0.4, "maj@16_high": 0.6, "num_examples": 64}
    return Results.of(run_config("q=0.25"), status="finished", best_step=150, validation=scores, test={})


def test_results_come_back_as_they_were_written(tmp_path):
    write_results(RunFolder(tmp_path), example_results())
    assert read_results(RunFolder(tmp_path)) == example_results()


def test_results_json_is_flat_and_names_the_run(tmp_path):
    write_results(RunFolder(tmp_path), example_results())
    data = json.loads((tmp_path / "results.json").read_text())
    names = {"status", "best_step", "estimator", "q", "model", "dataset", "start", "seed", "validation", "test"}
    assert data.keys() == names | {"reason"}
    assert (data["estimator"], data["q"], data["model"], data["dataset"]) == ("paft", 0.25, "tiny", "reversal")
    assert (data["start"], data["seed"], data["best_step"]) == ("cold", 0, 150)


def test_results_tell_a_schedule_of_q_in_words_and_no_q_as_null() -> None:
    for override, q in (("experiment=sft_then_rl", "1->0 step at 200"), ("estimator=grpo", None)):
        assert Results.of(run_config(override), status="finished", best_step=1, validation={}, test={}).q == q


def test_new_results_replace_the_old_and_a_failed_writing_keeps_them(tmp_path):
    write_results(RunFolder(tmp_path), example_results())
    broken = dataclasses.replace(example_results(), test={"maj@16": math.nan})
    with pytest.raises(ValueError, match="JSON"):
        write_results(RunFolder(tmp_path), broken)
    assert read_results(RunFolder(tmp_path)) == example_results()
    failed = dataclasses.replace(example_results(), status="failed")
    write_results(RunFolder(tmp_path), failed)
    assert read_results(RunFolder(tmp_path)) == failed
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_results_of_an_earlier_version_have_no_reason(tmp_path):
    write_results(RunFolder(tmp_path), example_results())
    data = json.loads((tmp_path / "results.json").read_text())
    del data["reason"]
    (tmp_path / "results.json").write_text(json.dumps(data))
    assert read_results(RunFolder(tmp_path)).reason is None


@pytest.mark.parametrize("text", ["{", "[]", '{"status": "finished"}', "[" * 100_000])
def test_a_spoilt_results_file_is_named(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=r"results\.json: must be a JSON object with status, best_step"):
        read_results(RunFolder(tmp_path))


def test_the_manifest_tells_what_the_run_was_made_with(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tsallis-run", "q=0.75", "tracker.wandb.project=two words"])
    write_manifest(RunFolder(tmp_path), dataset_ids_hash="0f1e")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["command"] == "tsallis-run q=0.75 'tracker.wandb.project=two words'"
    assert {"torch", "deepspeed", "transformers", "datasets", "wandb", "hydra-core"} <= manifest["versions"].keys()
    assert manifest["dataset_ids_hash"] == "0f1e"
    assert manifest["num_cpus"] == os.cpu_count()
    assert manifest.keys() >= {"python", "platform", "commit", "gpus", "time"}
    assert (manifest["step"], manifest["earlier_starts"]) == (0, [])


def test_the_manifest_keeps_what_earlier_starts_were_made_with(tmp_path):
    for step in (0, 100, 200):
        write_manifest(RunFolder(tmp_path), dataset_ids_hash="0f1e", step=step)
    manifest = read_manifest(RunFolder(tmp_path))
    assert (manifest["step"], [start["step"] for start in manifest["earlier_starts"]]) == (200, [0, 100])
    assert all("versions" in start and "earlier_starts" not in start for start in manifest["earlier_starts"])


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_a_spoilt_manifest_is_named(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json: must be a JSON object"):
        read_manifest(RunFolder(tmp_path))
