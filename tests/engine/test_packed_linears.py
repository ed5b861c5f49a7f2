"""vLLM's linears on a CPU machine: packed again with every load, and held in memory once."""

from __future__ import annotations

from typing import Any

from small import run_config

from tsallis_run import ranks
from tsallis_run.engine.vllm import VllmEngine
from tsallis_run.engine.vllm_settings import ServedModel
from tsallis_run.engine.weights import folder_weights
from tsallis_run.policy.model_folder import model_folder

PROBE = (6, 7, 8, 9, 2, 15, 16, 3, 8, 7)


def bytes_of_plain_linears(model: Any) -> list[int]:
    return [weight.untyped_storage().nbytes() for name, weight in model.named_parameters() if "proj" in name]


def test_a_packed_linear_is_held_once_and_follows_every_load() -> None:
    ranks.join()
    folder = model_folder(run_config().model, seed=0)
    engine = VllmEngine(ServedModel(folder, "float32", 256, trust_remote_code=False), run_config().rollout)
    engine.load_weights(folder_weights(folder), version=0)
    first = engine.score(PROBE)
    only_linears = [(name, weight * (1.5 if "proj" in name else 1.0)) for name, weight in folder_weights(folder)]
    engine.load_weights(only_linears, version=1)
    assert engine.score(PROBE) != first
    engine.load_weights(folder_weights(folder), version=2)
    assert engine.score(PROBE) == first
    (held,) = engine._llm.apply_model(bytes_of_plain_linears)
    assert set(held) == {0}
