"""The real engine and the reference against the trainer's model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small import run_config
from transformers import AutoModelForCausalLM

from tsallis_run import ranks
from tsallis_run.engine.transformers import TransformersEngine
from tsallis_run.engine.vllm import VllmEngine
from tsallis_run.engine.vllm_settings import ServedModel
from tsallis_run.engine.weights import folder_weights
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.types import Completion, CompletionRequest, Engine, EngineError

ROUNDING_NATS = 1e-4
"""Largest float32 difference between engine and trainer, per token."""
END, MARKER = 1, 3
PROBE = (6, 7, 8, 9, 2, 15, 16, 3, 8, 7)


@pytest.fixture(scope="module")
def folder() -> Path:
    return model_folder(run_config().model, seed=0)


@pytest.fixture(scope="module", params=["vllm", "transformers"])
def engine(request: pytest.FixtureRequest, folder: Path) -> Engine:
    if request.param == "transformers":
        return TransformersEngine(folder, dtype="float32", trust_remote_code=False)
    ranks.join()
    model = ServedModel(folder, "float32", 256, trust_remote_code=False)
    return VllmEngine(model, run_config().rollout)


def trainer_log_probs(folder: Path, ids: tuple[int, ...], scale: float = 1.0) -> list[float]:
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(scale)
        logits = model(torch.tensor([ids])).logits[0]
    return logits.log_softmax(-1)[range(len(ids) - 1), ids[1:]].tolist()


def requests(count: int, *, max_tokens: int = 6, stop_ids: tuple[int, ...] = (MARKER, END)) -> list[CompletionRequest]:
    return [CompletionRequest((6, 7, 8 + i % 3, 2), max_tokens, stop_ids, seed=100 + i) for i in range(count)]


@pytest.fixture(autouse=True)
def loaded(engine: Engine, folder: Path) -> None:
    engine.load_weights(folder_weights(folder), version=3)


def test_the_first_loading_reaches_every_weight(engine: Engine, folder: Path) -> None:
    assert engine.policy_version == 3
    assert engine.score(PROBE) == pytest.approx(trainer_log_probs(folder, PROBE), abs=ROUNDING_NATS)


def test_a_large_change_of_every_tensor_arrives_tied_head_included(engine: Engine, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    engine.load_weights([(name, weight * 1.5) for name, weight in weights.items()], version=4)
    assert engine.score(PROBE) == pytest.approx(trainer_log_probs(folder, PROBE, scale=1.5), abs=ROUNDING_NATS)


def test_linears_alone_changed_and_changed_back_follow_every_load(engine: Engine, folder: Path) -> None:
    """vLLM's are packed, again with every load, and held in memory once: as they were packed."""
    first = engine.score(PROBE)
    linears_changed = [(name, weight * (1.5 if "proj" in name else 1.0)) for name, weight in folder_weights(folder)]
    engine.load_weights(linears_changed, version=4)
    assert engine.score(PROBE) != first
    engine.load_weights(folder_weights(folder), version=5)
    assert engine.score(PROBE) == first
    if isinstance(engine, VllmEngine):
        (held,) = engine._llm.apply_model(bytes_of_linears)
        assert set(held) == {0}


def bytes_of_linears(model: Any) -> list[int]:
    return [weight.untyped_storage().nbytes() for name, weight in model.named_parameters() if "proj" in name]


def test_sampled_tokens_carry_the_log_probs_of_the_model_they_came_from(engine: Engine, folder: Path) -> None:
    for request, completion in zip(requests(6), engine.complete(requests(6)), strict=True):
        whole = request.prompt_ids + completion.ids
        expected = trainer_log_probs(folder, whole)[-len(completion.ids) :]
        assert completion.log_probs == pytest.approx(expected, abs=ROUNDING_NATS)


def test_the_same_seeds_give_the_same_samples_and_other_seeds_others(engine: Engine) -> None:
    first, again = engine.complete(requests(8)), engine.complete(requests(8))
    assert [c.ids for c in first] == [c.ids for c in again]
    assert len({c.ids for c in first}) == 8


def test_sampling_ends_at_a_stop_id_kept_as_sampled_and_at_nothing_else(engine: Engine) -> None:
    completions: list[Completion] = engine.complete(requests(200))
    ended = [c for c in completions if c.ids[-1] in (MARKER, END)]
    assert ended, "a random model over 48 tokens samples a stop id in about a quarter of 200 rationales"
    assert all(len(c.ids) == 6 for c in completions if c not in ended)
    assert all(token not in (MARKER, END) for c in completions for token in c.ids[:-1])
    # the model's own end token is no stop id here: it is a token like any other
    unstopped = engine.complete(requests(200, stop_ids=()))
    assert all(len(c.ids) == 6 for c in unstopped)
    assert any(END in c.ids[:-1] for c in unstopped)


def test_more_prompt_tokens_than_an_engine_step_takes_are_sampled_all_the_same(engine: Engine, folder: Path) -> None:
    long = [CompletionRequest((5 + i % 20,) * 200, 3, (), seed=i) for i in range(100)]  # 20,000 tokens of prompts
    completions = engine.complete(long)
    assert [len(completion.ids) for completion in completions] == [3] * 100
    whole = long[99].prompt_ids + completions[99].ids
    assert completions[99].log_probs == pytest.approx(trainer_log_probs(folder, whole)[-3:], abs=ROUNDING_NATS)


def test_samples_follow_the_models_distribution(engine: Engine, folder: Path) -> None:
    scale = 12.0  # far from uniform: the likeliest token is drawn often
    weights = load_file(folder / "model.safetensors")
    engine.load_weights([(n, w * scale if "embed" in n else w) for n, w in weights.items()], version=5)
    first = [CompletionRequest((6, 7, 8, 2), 1, (), seed=i) for i in range(2000)]
    counts = torch.zeros(48)
    for completion in engine.complete(first):
        counts[completion.ids[0]] += 1
    expected = torch.tensor([engine.score((6, 7, 8, 2, token))[-1] for token in range(48)]).exp()
    assert expected.sum().item() == pytest.approx(1.0, abs=1e-4)
    # five standard deviations of a binomial share
    assert ((counts / 2000 - expected).abs() <= 5 * (expected * (1 - expected) / 2000).sqrt() + 1e-3).all()


def test_an_engine_that_breaks_inside_tells_it_and_samples_on(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(engine, VllmEngine):
        step, calls = engine._llm.llm_engine.step, []

        def break_once() -> object:
            calls.append(1)
            if len(calls) == 2:  # in the middle of a batch
                raise RuntimeError("out of blocks")
            return step()

        monkeypatch.setattr(engine._llm.llm_engine, "step", break_once)
    else:
        monkeypatch.setattr(engine._model, "forward", _broken)
    with pytest.raises(EngineError, match="out of blocks"):
        engine.complete(requests(8))
    monkeypatch.undo()
    engine.reset_cache()
    again, expected = engine.complete(requests(8)), engine.complete(requests(8))
    assert [c.ids for c in again] == [c.ids for c in expected]


def test_an_engine_in_the_cpus_memory_keeps_its_weights_through_sleep(engine: Engine) -> None:
    before = engine.score(PROBE)
    engine.sleep()
    assert engine.policy_version == 3
    assert engine.score(PROBE) == before
    engine.close()


def _broken(*_inputs: object, **_more: object) -> None:
    raise RuntimeError("out of blocks")
