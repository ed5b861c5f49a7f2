"""Both labels of a training example, counted in sampled answers and as probabilities."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small import plain_model, run_config

from tsallis_run import ranks
from tsallis_run.engine.transformers import TransformersEngine
from tsallis_run.inputs import Inputs, read_inputs
from tsallis_run.memorisation import TwoLabels, asked, compare, means, memorisation
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.policy.token_scorer import load_scorer
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.sampler import Sampler
from tsallis_run.types import Answer, Group, Prompt, RationaleEnd, Rollout

SMALL = ("dataset.num_digits=2", "dataset.num_train=40", "dataset.num_validation=1", "dataset.num_test=1")
NOISE = (*SMALL, "dataset.label_noise.fraction=0.3", "evaluation.num_noisy_examples=5", "evaluation.num_samples=2")


@pytest.fixture(autouse=True)
def alone() -> None:
    ranks.join()


@pytest.fixture(scope="module")
def folder() -> Path:
    return model_folder(run_config().model, seed=0)


def inputs_of(folder: Path, *overrides: str) -> Inputs:
    return read_inputs(run_config(*overrides), folder)


def labels(inputs: Inputs, step: int, *overrides: str) -> list[str]:
    return [prompt.example.answer for prompt in inputs.batch(step, run_config(*overrides))]


def test_without_noise_nothing_is_asked_and_every_label_is_its_own(folder: Path) -> None:
    inputs = inputs_of(folder, *SMALL)
    assert inputs.wrong == {}
    assert asked(inputs, run_config(*SMALL)) == []
    assert all(prompt in inputs.train for prompt in inputs.batch(0, run_config(*SMALL)))


def test_per_example_a_batch_holds_the_wrong_label_of_those_that_are_struck_alone(folder: Path) -> None:
    inputs, clean = inputs_of(folder, *NOISE), inputs_of(folder, *SMALL)
    for step in range(10):  # two epochs
        for ours, theirs in zip(
            inputs.batch(step, run_config(*NOISE)), clean.batch(step, run_config(*SMALL)), strict=True
        ):
            assert (ours.example.id, ours.ids) == (theirs.example.id, theirs.ids)
            assert (ours != theirs) == (ours.example.id in inputs.wrong)
    assert 0 < len(inputs.wrong) < len(inputs.train)
    assert (inputs.validation, inputs.test) == (clean.validation, clean.test)


def test_per_visit_an_example_has_both_labels_in_time(folder: Path) -> None:
    overrides = (*NOISE, "dataset.label_noise.per=visit", "dataset.label_noise.fraction=0.5")
    inputs = inputs_of(folder, *overrides)
    seen: dict[str, set[str]] = {}
    for step in range(5 * 12):  # twelve epochs
        for prompt in inputs.batch(step, run_config(*overrides)):
            seen.setdefault(prompt.example.id, set()).add(prompt.example.answer)
    assert all(found == {id[::-1], inputs.wrong[id].example.answer} for id, found in seen.items())


def test_those_are_asked_that_training_meets_first_with_the_wrong_label_ahead(folder: Path) -> None:
    inputs, config = inputs_of(folder, *NOISE), run_config(*NOISE)
    found = asked(inputs, config)
    met = [prompt.example.id for step in range(5) for prompt in inputs.batch(step, config)]
    assert [prompt.example.id for prompt in found] == [id for id in met if id in inputs.wrong][:5]
    for prompt in found:
        assert prompt.example.answer == prompt.example.id[::-1]
        assert prompt.gold_ids[0] == inputs.wrong[prompt.example.id].gold_ids[0] != prompt.gold_ids[1]


def answered(prompt: Prompt, *texts: str) -> Group:
    rollouts = (
        Rollout((5, 6), (-1.0, -1.0), RationaleEnd.BUDGET, (3,), Answer((7, 1), (-1.0, -1.0), text, True), 0)
        for text in texts
    )
    return Group(prompt, tuple(rollouts))


def test_probabilities_are_those_of_each_label_alone(folder: Path) -> None:
    config, inputs = run_config(*NOISE), inputs_of(folder, *NOISE)
    policy = ZeroPolicy(load_scorer(folder, config.model), config)
    (prompt, *_) = asked(inputs, config)
    wrong = inputs.wrong[prompt.example.id].example.answer
    texts = (prompt.example.answer, wrong, f" {wrong}. ", "none of them")
    (found,) = compare(policy, [answered(prompt, *texts)], inputs.wrong, config)
    assert (found.num_samples, found.num_true, found.num_wrong) == (4, 1, 2)

    def p(ids: tuple[int, ...]) -> float:
        context = (*prompt.ids, 5, 6, 3)
        logits = plain_model()(torch.tensor([context + ids])).logits[0, len(context) - 1 : -1]
        return float(logits.log_softmax(-1)[range(len(ids)), ids].sum().exp().detach())

    assert found.p_wrong == pytest.approx(p(prompt.gold_ids[0]), rel=1e-4)
    assert found.p_true == pytest.approx(p(prompt.gold_ids[1]), rel=1e-4)
    assert compare(policy, [], inputs.wrong, config) == []


def test_numbers_by_hand() -> None:
    found = means([TwoLabels(4, 1, 2, p_true=0.2, p_wrong=0.1), TwoLabels(4, 0, 1, p_true=0.1, p_wrong=0.5)])
    assert found == pytest.approx(
        {
            "noisy_true@1": 1 / 8,
            "noisy_wrong@1": 3 / 8,
            "noisy_p_true": 0.15,
            "noisy_p_wrong": 0.3,
            "contamination": 0.3 / 0.45,
        }
    )


def test_there_is_no_contamination_where_neither_label_has_any_probability() -> None:
    assert "contamination" not in means([TwoLabels(4, 0, 0, p_true=0.0, p_wrong=0.0)])


def test_the_same_weights_give_the_same_numbers(folder: Path) -> None:
    config, inputs = run_config(*NOISE), inputs_of(folder, *NOISE)
    policy = ZeroPolicy(load_scorer(folder, config.model), config)
    engine = TransformersEngine(folder, dtype="float32", trust_remote_code=False)
    engine.load_weights(policy.weights(), version=0)
    sampler = Sampler(engine, inputs, config)
    first, second = (memorisation(policy, engine, sampler, inputs, config) for _ in range(2))
    sampler.close()
    assert first == second
    assert 0 < first["contamination"] < 1
