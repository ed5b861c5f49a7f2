"""Stale weights stop the run instead of spoiling it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from small import given, group, prompt, rollout, run_config
from torch import Tensor

from tsallis_run.engine.transformers import TransformersEngine
from tsallis_run.packing import micro_batches
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.policy.token_scorer import load_scorer
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.scoring import gold_answers
from tsallis_run.tree import trees
from tsallis_run.weight_sync import PROBE_TOKENS, StaleWeightsError, WeightSync, probe_ids

PROBE = probe_ids(prompt((6, 7, 8, 9, 2), (9, 8, 7, 6, 1)))


class ForgetfulEngine(TransformersEngine):
    """Takes every weight and computes with old copies of the named ones, as an engine that packs its weights may."""

    forgets: tuple[str, ...] = ()

    @torch.no_grad()
    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        kept = {n: w.clone() for n, w in self._model.named_parameters() if n.startswith(self.forgets)}
        weights = dict(weights)
        if any(name == "lm_head.weight" for name, _ in self._model.named_parameters()):  # untied by the test
            weights |= {"lm_head.weight": self._model.lm_head.weight}
        super().load_weights(weights.items(), version)
        for name, weight in self._model.named_parameters():
            if name in kept:
                weight.copy_(kept[name])


@pytest.fixture
def policy() -> ZeroPolicy:
    config = run_config()
    return ZeroPolicy(load_scorer(model_folder(config.model, seed=0), config.model), config)


def forgetful(*names: str, untie_head: bool = False) -> ForgetfulEngine:
    engine = ForgetfulEngine(model_folder(run_config().model, seed=0), dtype="float32", trust_remote_code=False)
    engine.forgets = names or ("no such weight",)
    if untie_head:
        engine._model.lm_head.weight = torch.nn.Parameter(engine._model.lm_head.weight.detach().clone())
    return engine


def sync(policy: ZeroPolicy, engine: TransformersEngine) -> WeightSync:
    return WeightSync(policy, engine, PROBE, run_config().probe_tolerance_nats)


def take_step(policy: ZeroPolicy) -> None:
    batches = micro_batches(
        trees([group(prompt((5, 6), (7, 1)), rollout((8,)))], gold_answers, max_tokens=99), max_tokens=99
    )
    policy.backward(batches, given(torch.ones(batch.num_scored) for batch in batches), num_prompts=1)
    policy.step(1e-3)


def test_a_whole_sync_passes_the_probe_before_and_after_a_step(policy: ZeroPolicy) -> None:
    whole = sync(policy, forgetful())
    assert whole() < 1e-5
    take_step(policy)
    assert whole() < 1e-5


@pytest.mark.parametrize(
    "name", ["model.embed_tokens", "model.layers.1.self_attn.q_proj", "model.layers.2.mlp.down_proj"]
)
def test_a_tensor_that_the_first_sync_does_not_reach_stops_the_run(policy: ZeroPolicy, name: str) -> None:
    with pytest.raises(StaleWeightsError, match="the engine holds stale weights"):
        sync(policy, forgetful(name))()


def test_a_stale_copy_of_a_tied_head_stops_the_run(policy: ZeroPolicy) -> None:
    with pytest.raises(StaleWeightsError, match="the engine holds stale weights"):
        sync(policy, forgetful(untie_head=True))()


def test_an_engine_left_behind_by_a_step_is_found_by_its_version(policy: ZeroPolicy) -> None:
    whole = sync(policy, forgetful())
    whole()
    take_step(policy)
    with pytest.raises(StaleWeightsError, match="weights of version 0, the trainer of 1"):
        whole.check()


def test_weights_left_behind_under_a_new_stamp_are_found_by_the_probe(policy: ZeroPolicy) -> None:
    engine = forgetful()
    sync(policy, engine)()
    engine.forgets = ("model", "lm_head")
    take_step(policy)
    with pytest.raises(StaleWeightsError, match="differ by"):
        sync(policy, engine)()


def test_the_probe_is_the_end_of_a_long_prompt_and_its_gold_answer() -> None:
    ids = probe_ids(prompt(tuple(range(1000)), (1, 2, 3)))
    assert len(ids) == PROBE_TOKENS
    assert ids[-4:] == (999, 1, 2, 3)
