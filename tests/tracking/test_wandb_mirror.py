from __future__ import annotations

import json

import pytest
import wandb
from rollout_rows import sampled
from small import run_config
from tracking.wandb_file import read_wandb_history, read_wandb_records

from tsallis_run.tracking import Trackers
from tsallis_run.tracking.alarms import Alarm
from tsallis_run.tracking.records import MetricsFile, RunFolder, read_rows
from tsallis_run.tracking.wandb_mirror import WandbMirror, _run_name, check_wandb
from tsallis_run.types import UserError

SECRET = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    """A machine that knows no W&B account, whoever runs the tests; W&B keeps what it read until its teardown."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    wandb.teardown()


def training_rows():
    """300 steps with a validation before, every 50 and after, and a test of an earlier step at the end."""
    for step in range(301):
        if step:
            yield {"step": step, "split": "train", "phase": "estimator", "loss": 1 / step, "log_p_hat": -33.6 + step}
        if step % 50 == 0:
            yield {"step": step, "split": "validation", "pass@1": step / 900, "maj@16": step / 600, "num_examples": 64}
    yield {"step": 250, "split": "test", "pass@1": 0.2, "maj@16": 0.4, "num_examples": 64}


def by_step(rows, name):
    return [(row["step"], row[name]) for row in rows if name in row]


def test_the_offline_file_of_wandb_says_the_same_as_metrics_jsonl(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    folder, warnings = RunFolder.create(tmp_path / "run", run_config()), []
    mirror = WandbMirror(run_config(), folder, "1a2b3c4d", warnings.append)
    trackers = Trackers((MetricsFile(folder.metrics), mirror))
    for row in training_rows():
        trackers.log(row)
    mirror.finish({"best_step": 250, "test/maj@16": 0.4})

    (file,) = folder.path.glob("wandb/offline-run-*-1a2b3c4d/run-1a2b3c4d.wandb")
    record, mirrored = read_rows(folder.metrics), read_wandb_history(file)
    assert file.stat().st_size > 32 * 1024, "the file must be longer than one block of its framing"
    panels = {"log_p_hat": "weights"}
    named = [("validation", "maj@16"), ("validation", "pass@1"), ("train", "loss"), ("train", "log_p_hat")]
    for split, name in [*named, ("test", "maj@16")]:
        expected = by_step([row for row in record if row["split"] == split], name)
        assert by_step(mirrored, f"{panels.get(name, split)}/{name}") == expected
        assert expected
    assert len(mirrored) == len(record)
    assert warnings == []
    spilt = [path for path in folder.path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert spilt == []


def test_the_offline_file_carries_the_run_its_axis_and_its_summary(tmp_path):
    folder = RunFolder.create(tmp_path / "run", run_config())
    mirror = WandbMirror(run_config("tracker.wandb.group=pole"), folder, "5e6f", lambda _: None)
    mirror.log({"step": 1, "split": "train", "loss": 0.5})
    mirror.alarm(Alarm("drift", 1, "engine and trainer drift apart", "0.3 nats", "biased", "float32"))
    mirror.finish({"best_step": 250, "status": "finished"})
    (file,) = folder.path.glob("wandb/offline-run-*/run-5e6f.wandb")
    records = list(read_wandb_records(file))

    (run,) = [record.run for record in records if record.HasField("run")]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (run.run_id, run.project, run.run_group) == ("5e6f", "tsallis-run", "pole")
    assert run.display_name == "paft q=0.75 cold reversal seed=0"
    assert _run_name(run_config("experiment=sft_then_rl")) == "garl q=1->0 step at 200 cold reversal seed=0"
    (alert,) = [record.alert for record in records if record.HasField("alert")]
    assert (alert.title, alert.text.splitlines()[1]) == ("engine and trainer drift apart", "  seen  0.3 nats")
    assert config["q"] == 0.75
    assert config["estimator"]["name"] == "paft"
    axes = {metric.glob_name: metric.step_metric for metric in (r.metric for r in records if r.HasField("metric"))}
    panels = ("train", "validation", "test", "weights", "gradient", "lengths", "engine", "time")
    assert axes == {f"{panel}/*": "step" for panel in panels}
    updates = [item for record in records for item in record.summary.update]
    summary = {item.key: json.loads(item.value_json) for item in updates if item.key}
    assert (summary["best_step"], summary["status"]) == (250, "finished")


class Dead:
    """A W&B whose every call raises."""

    def __getattr__(self, name):
        raise ConnectionError(f"{name}: the service is gone")


def test_a_wandb_whose_every_call_raises_warns_once_and_stops_nothing(tmp_path, monkeypatch):
    def refuse(**_settings):
        raise ConnectionError("the service is gone")

    monkeypatch.setattr(wandb, "init", refuse)
    warnings = []
    mirror = WandbMirror(run_config(), RunFolder(tmp_path), "1a2b", warnings.append)
    for row in training_rows():
        mirror.log(row)
    mirror.finish({"best_step": 250})
    assert warnings == [
        "W&B mirror stopped (ConnectionError: the service is gone); the run goes on, metrics.jsonl has every row"
    ]


def test_a_wandb_that_dies_during_the_run_warns_once_and_stops_nothing(tmp_path, monkeypatch):
    class Dying(Dead):
        def define_metric(self, *_args, **_kwargs):
            pass

    monkeypatch.setattr(wandb, "init", lambda **_settings: Dying())
    warnings = []
    mirror = WandbMirror(run_config(), RunFolder(tmp_path), "1a2b", warnings.append)
    assert warnings == []
    for row in training_rows():
        mirror.log(row)
    mirror.finish({"best_step": 250})
    assert len(warnings) == 1
    assert "log: the service is gone" in warnings[0]


def online():
    return run_config("tracker.wandb.mode=online").tracker.wandb


def test_online_without_a_key_is_the_users_mistake():
    with pytest.raises(UserError, match=r"^tracker\.wandb\.mode: online needs an API key .*mode=offline$"):
        check_wandb(online())


def test_a_key_that_wandb_would_refuse_is_the_users_mistake(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with pytest.raises(UserError, match=r"^tracker\.wandb\.mode: online needs an API key"):
        check_wandb(online())


def test_online_finds_a_key_in_the_environment(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    check_wandb(online())


def test_online_finds_a_key_in_netrc(tmp_path):
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {SECRET}\n")
    check_wandb(online())


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_offline_and_disabled_need_no_key(mode):
    check_wandb(run_config(f"tracker.wandb.mode={mode}").tracker.wandb)


def test_rollouts_are_sent_as_a_table(tmp_path):
    folder, warnings = RunFolder.create(tmp_path / "run", run_config()), []
    mirror = WandbMirror(run_config(), folder, "7a8b", warnings.append)
    mirror.rollouts([sampled(step=50, rationale="first"), sampled(step=50, log_p_answer=None)])
    mirror.finish({})
    (file,) = folder.path.glob("wandb/offline-run-*/files/media/table/rollouts/*.table.json")
    table = json.loads(file.read_text())
    assert table["columns"][:3] == ["step", "split", "example_id"]
    row = dict(zip(table["columns"], table["data"][0], strict=True))
    assert (row["rationale"], row["aliases"], row["log_p_answer"]) == ("first", "four", -1.0)
    assert warnings == []
