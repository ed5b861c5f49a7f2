"""A real worker: equal to the trainer's model, and killed at the worst moments."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from engine.test_engines import END, MARKER, PROBE, ROUNDING_NATS, requests, trainer_log_probs
from many_ranks import run_ranks
from small import run_config

from tsallis_run.config import VllmServerRollout
from tsallis_run.engine.server.client import Client
from tsallis_run.engine.server.control import Server
from tsallis_run.engine.server.engine import VllmServerEngine
from tsallis_run.engine.server.fleet import GivenServers
from tsallis_run.engine.vllm_settings import ServedModel
from tsallis_run.engine.weights import folder_weights
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.types import CompletionRequest, EngineError

LONG = [CompletionRequest((6, 7, 8 + i % 30, 2), 200, (), seed=100 + i) for i in range(64)]
"""Enough to kill a worker while it samples them."""


def server_engine(folder: Path, *overrides: str) -> VllmServerEngine:
    """An engine on the tiny model; logs go to `folder`."""
    config = run_config("rollout=vllm_server", *overrides)
    assert isinstance(config.rollout, VllmServerRollout)
    model = ServedModel(model_folder(config.model, seed=0), "float32", 256, trust_remote_code=False)
    tolerance = config.probe_tolerance_nats
    return VllmServerEngine(model, config.rollout, tolerance_nats=tolerance, run_folder=folder)


@pytest.fixture(scope="module")
def folder() -> Path:
    return model_folder(run_config().model, seed=0)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServerEngine]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        engine = server_engine(tmp_path_factory.mktemp("run"))
        yield engine
        engine.close()


@pytest.fixture
def engine(started: VllmServerEngine, folder: Path) -> VllmServerEngine:
    started.load_weights(folder_weights(folder), version=3)
    return started


def server_process() -> psutil.Process:
    """What the run has started; the model is held by a process that this one has started."""
    (found,) = [child for child in psutil.Process().children() if "tsallis_run.engine.server.worker" in child.cmdline()]
    return found


def test_every_weight_arrives_tied_head_included(engine: VllmServerEngine, folder: Path) -> None:
    assert engine.policy_version == 3
    assert engine.score(PROBE) == pytest.approx(trainer_log_probs(folder, PROBE), abs=ROUNDING_NATS)
    engine.load_weights([(name, weight * 1.5) for name, weight in folder_weights(folder)], version=4)
    assert engine.policy_version == 4
    assert engine.score(PROBE) == pytest.approx(trainer_log_probs(folder, PROBE, scale=1.5), abs=ROUNDING_NATS)


def test_sampled_tokens_carry_the_log_probs_of_the_model_they_came_from(engine: VllmServerEngine, folder: Path) -> None:
    for request, completion in zip(requests(6), engine.complete(requests(6)), strict=True):
        expected = trainer_log_probs(folder, request.prompt_ids + completion.ids)[-len(completion.ids) :]
        assert completion.log_probs == pytest.approx(expected, abs=ROUNDING_NATS)


def test_the_same_seeds_give_the_same_samples_and_other_seeds_others(engine: VllmServerEngine) -> None:
    first = engine.complete(requests(8))
    engine.reset_cache()
    assert [c.ids for c in engine.complete(requests(8))] == [c.ids for c in first]
    assert len({c.ids for c in first}) == 8


def test_sampling_ends_at_a_stop_id_kept_as_sampled_and_at_nothing_else(engine: VllmServerEngine) -> None:
    completions = engine.complete(requests(200))
    assert any(c.ids[-1] in (MARKER, END) and len(c.ids) < 6 for c in completions)
    assert any(END in c.ids[:-1] for c in engine.complete(requests(200, stop_ids=())))


def test_a_server_given_by_its_url_takes_the_weights_of_another_run(
    engine: VllmServerEngine, folder: Path, tmp_path: Path
) -> None:
    (url,) = engine._fleet.look_up().urls
    given = server_engine(tmp_path, f"rollout.urls=[{url}]")
    given.load_weights([(name, weight * 1.5) for name, weight in folder_weights(folder)], version=9)
    scored = given.score(PROBE)
    assert scored == pytest.approx(trainer_log_probs(folder, PROBE, scale=1.5), abs=ROUNDING_NATS)
    assert len(given.complete(requests(8))) == 8
    given.close()
    assert engine.score(PROBE) == scored  # it was somebody else's to end


def test_a_worker_killed_while_it_samples_loses_no_completion(engine: VllmServerEngine) -> None:
    undisturbed, restarts = engine.complete(LONG), engine.num_restarts
    with ThreadPoolExecutor(1) as thread:
        completing = thread.submit(engine.complete, LONG)
        time.sleep(0.5)
        assert not completing.done()
        server_process().send_signal(signal.SIGKILL)
        completions = completing.result()
    assert engine.num_restarts == restarts + 1
    assert [len(completion.ids) for completion in completions] == [200] * 64
    # the seeds bring the same tokens back, unless rounding, which depends on what else is in a batch, tips one over
    assert sum(a.ids == b.ids for a, b in zip(completions, undisturbed, strict=True)) >= 60


def test_a_model_killed_within_a_sync_has_the_new_weights_when_the_sync_returns(
    engine: VllmServerEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restarts, update = engine.num_restarts, Server.update

    def kill_and_update(server: Server, update_info: dict[str, Any]) -> None:
        monkeypatch.undo()
        (core,) = [child for child in server_process().children() if "EngineCore" in " ".join(child.cmdline())]
        core.send_signal(signal.SIGKILL)
        update(server, update_info)

    monkeypatch.setattr(Server, "update", kill_and_update)
    engine.load_weights([(name, weight * 1.5) for name, weight in folder_weights(folder)], version=4)
    assert engine.num_restarts == restarts + 1
    assert engine.policy_version == 4
    assert engine.score(PROBE) == pytest.approx(trainer_log_probs(folder, PROBE, scale=1.5), abs=ROUNDING_NATS)


def test_a_given_server_that_is_not_there_is_told_by_its_address(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"http://127.0.0.1:9 broke off .* is it up, and .* VLLM_SERVER_DEV_MODE=1"):
        server_engine(tmp_path, "rollout.urls=[http://127.0.0.1:9]")


def test_two_servers_that_differ_are_not_taken_for_one_policy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(GivenServers, "start", lambda self: None)
    engine = server_engine(tmp_path, "rollout.urls=[http://127.0.0.1:9]")
    monkeypatch.setattr(Client, "score", lambda self, ids: [[-1.0, -2.0], [-1.0, -2.0005], [-1.0, -2.0]])
    assert engine.score((6, 7, 8)) == [-1.0, -2.0]
    monkeypatch.setattr(Client, "score", lambda self, ids: [[-1.0, -2.0], [-1.0, -2.0], [-1.0, -2.1]])
    with pytest.raises(EngineError, match=r"differ by 0.05 nats per token"):
        engine.score((6, 7, 8))


def test_every_rank_draws_the_weights_one_brings_them_and_a_fault_is_raised_on_all(tmp_path: Path) -> None:
    found = run_ranks("engine.server_rank", 2, tmp_path / "found.pt")
    num_weights, num_completions, has_failed, version = 3 * 3, 2 * 4, 1.0, 2
    assert found["ranks"].tolist() == [[num_weights, num_completions, has_failed, version]] * 2
    assert found["updates"] == 3
