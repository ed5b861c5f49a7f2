"""Which weights write which rollouts, and when."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace

import pytest
from small import run_config
from torch import Tensor

from tsallis_run.inputs import Inputs, read_inputs
from tsallis_run.parts import Parts
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.sampler import Sampler
from tsallis_run.types import Completion, CompletionRequest, Engine, EngineError, GaveUpError

AHEAD = ("rollout=vllm_server", "rollout.max_staleness=1", "rollout.importance_correction=sequence")
SMALL = ("num_steps=3", "prompts_per_step=1", "rollouts_per_prompt=2", "dataset.num_train=4")


class GatedEngine(Engine):
    """Samples only while its gate is open, and tells what it did."""

    def __init__(self) -> None:
        self.policy_version = 0
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.told: list[str] = []
        self.fails = 0

    def complete(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        self.begun.set()
        assert self.gate.wait(timeout=60)
        if self.fails:
            self.fails -= 1
            raise EngineError("the engine is gone")
        self.told.append(f"sampled with version {self.policy_version}")
        return [Completion((request.seed % 5 + 4,), (-1.0,)) for request in requests]

    def score(self, ids: Sequence[int]) -> list[float]:
        raise NotImplementedError

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        self.policy_version = version
        self.told.append(f"loaded version {version}")

    def reset_cache(self) -> None:
        self.told.append("cache reset")

    def sleep(self) -> None: ...

    def close(self) -> None:
        """What is in flight breaks off."""
        self.fails = 2
        self.gate.set()


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    config = run_config(*SMALL)
    return read_inputs(config, model_folder(config.model, seed=0))


@pytest.fixture
def engine() -> Iterator[GatedEngine]:
    engine = GatedEngine()
    yield engine
    engine.gate.set()  # no thread is left behind a closed gate


def train(sampler: Sampler, engine: GatedEngine) -> list[int]:
    """The loop's calls of three steps; returns the version behind each step's rollouts."""
    versions = []
    for step in range(3):
        ((group),) = sampler.take(step)
        versions.append(group.rollouts[0].policy_version)
        sampler.look_ahead(step + 1)
        engine.told.append(f"trained step {step}")
        sampler.settle()
        engine.load_weights([], step + 1)
    return versions


def test_on_policy_every_step_is_sampled_by_the_weights_that_it_trains(inputs: Inputs, engine: GatedEngine) -> None:
    assert train(Sampler(engine, inputs, run_config(*SMALL)), engine) == [0, 1, 2]
    assert engine.told == [
        *("sampled with version 0", "trained step 0", "loaded version 1"),
        *("sampled with version 1", "trained step 1", "loaded version 2"),
        *("sampled with version 2", "trained step 2", "loaded version 3"),
    ]


def test_one_step_ahead_the_next_batch_is_sampled_before_the_weights_change(
    inputs: Inputs, engine: GatedEngine
) -> None:
    sampler = Sampler(engine, inputs, run_config(*SMALL, *AHEAD))
    assert train(sampler, engine) == [0, 0, 1]
    by_order = [event for event in engine.told if not event.startswith("trained")]
    assert by_order == [
        *("sampled with version 0", "sampled with version 0", "loaded version 1"),
        *("sampled with version 1", "loaded version 2"),
        "loaded version 3",  # three steps: nothing is sampled for a fourth
    ]


def test_the_trainer_works_while_the_next_batch_is_sampled_and_weights_wait_for_it(
    inputs: Inputs, engine: GatedEngine
) -> None:
    sampler = Sampler(engine, inputs, run_config(*SMALL, *AHEAD))
    sampler.take(0)
    engine.gate.clear()
    engine.begun.clear()
    sampler.look_ahead(1)  # returns although the gate is closed: the trainer goes on
    assert engine.begun.wait(timeout=60)
    waiting = threading.Thread(target=sampler.settle)
    waiting.start()
    waiting.join(timeout=0.2)
    assert waiting.is_alive()
    engine.gate.set()
    waiting.join(timeout=60)
    assert not waiting.is_alive()
    sampler.close()


def test_both_ways_draw_the_same_prompts_with_the_same_seeds(inputs: Inputs, engine: GatedEngine) -> None:
    on_policy, ahead = (Sampler(engine, inputs, run_config(*SMALL, *more)) for more in ((), AHEAD))
    expected = [on_policy.take(step)[0] for step in range(2)]
    first = ahead.take(0)
    ahead.look_ahead(1)
    found = [*first, *ahead.take(1)]
    assert [g.prompt for g in found] == [g.prompt for g in expected]
    assert [r.rationale for g in found for r in g.rollouts] == [r.rationale for g in expected for r in g.rollouts]


def test_a_stop_does_not_wait_for_the_batch_that_is_sampled_ahead(inputs: Inputs, engine: GatedEngine) -> None:
    sampler = Sampler(engine, inputs, run_config(*SMALL, *AHEAD))
    engine.gate.clear()
    sampler.look_ahead(1)
    assert engine.begun.wait(timeout=60)
    closing = threading.Thread(target=Parts.close, args=(SimpleNamespace(sampler=sampler, engine=engine),))
    closing.start()
    closing.join(timeout=20)
    assert not closing.is_alive()


@pytest.mark.parametrize("ahead", [(), AHEAD])
def test_an_engine_that_fails_once_is_asked_again(inputs: Inputs, engine: GatedEngine, ahead: tuple[str, ...]) -> None:
    engine.fails = 1
    sampler = Sampler(engine, inputs, run_config(*SMALL, *ahead))
    sampler.look_ahead(0)
    assert len(sampler.take(0)) == 1
    assert engine.told == ["cache reset", "sampled with version 0"]


@pytest.mark.parametrize("ahead", [(), AHEAD])
def test_an_engine_that_fails_twice_ends_the_run(inputs: Inputs, engine: GatedEngine, ahead: tuple[str, ...]) -> None:
    engine.fails = 2
    sampler = Sampler(engine, inputs, run_config(*SMALL, *ahead))
    sampler.look_ahead(0)
    sampler.settle()
    with pytest.raises(GaveUpError, match="the engine is gone"):
        sampler.take(0)
