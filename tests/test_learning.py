"""Passes kept, passes saved: the same gradient, the same scores."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from policy.test_zero import full_gradient, policy
from small import run_config
from test_scoring import random_groups
from torch import Tensor

from tsallis_run import learning
from tsallis_run.batch import plan_of
from tsallis_run.config import RunConfig
from tsallis_run.learning import Learned, keeps_forward, learn
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.tracking.clock import Clock
from tsallis_run.types import Answer, Group, Rollout

ROUNDING = 2e-6
"""float32 gradients summed in another order, relative to the largest entry."""
NUM_PROMPTS, NUM_ROLLOUTS = 3, 4
SETTINGS = [
    ("estimator=garl", "q=0.5"),
    ("estimator=garl", "q=1", "estimator.jackknife=true"),
    ("estimator=garl", "q=0.5", "start.supervised_steps=1"),
    ("estimator=garl", "q=0.5", "rollout.importance_correction=sequence"),
    ("estimator=grpo",),
    ("estimator=grpo", "rollout.importance_correction=token"),
    ("estimator=maxrl",),
]


def config_of(*overrides: str) -> RunConfig:
    return run_config(*overrides, f"prompts_per_step={NUM_PROMPTS}", f"rollouts_per_prompt={NUM_ROLLOUTS}")


def sampled_groups() -> list[Group]:
    """Groups with the engine's log-probs and sampled answers, of which some are right; the last group has none."""
    groups = random_groups(NUM_PROMPTS, NUM_ROLLOUTS)
    return [
        Group(one.prompt, tuple(_answered(r, right=b < 2 and m == b) for m, r in enumerate(one.rollouts)))
        for b, one in enumerate(groups)
    ]


def _answered(rollout: Rollout, *, right: bool) -> Rollout:
    answer = Answer((7, 1), (-3.5, -4.0), "a" if right else "b", ended=True)
    log_probs = tuple(-3.0 - 0.1 * t for t in range(len(rollout.rationale)))
    return Rollout(rollout.rationale, log_probs, rollout.end, rollout.bridge, answer, 0)


def learned(config: RunConfig) -> tuple[Learned, ZeroPolicy]:
    fresh = policy(config)
    return learn(fresh, sampled_groups(), plan_of(0, config), config, Clock(lambda phase: None)), fresh


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert (ours - theirs).abs().max() <= ROUNDING * theirs.abs().max()


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("max_tokens", [70, 4096])
def test_a_kept_forward_pass_gives_the_gradient_and_the_numbers_of_two_passes(
    settings: tuple[str, ...], max_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(*settings, f"optimizer.micro_batch_tokens={max_tokens}")
    kept, kept_policy = learned(config)
    monkeypatch.setattr(learning, "keeps_forward", lambda groups, plan, config: torch.zeros(len(groups)).bool())
    twice, twice_policy = learned(config)
    assert kept.work["scored_tokens"] < twice.work["scored_tokens"]
    assert_close(full_gradient(kept_policy), full_gradient(twice_policy))
    assert kept.loss == pytest.approx(twice.loss, rel=1e-5)
    torch.testing.assert_close(kept.batch.log_p_answer, twice.batch.log_p_answer, atol=2e-5, rtol=0)
    torch.testing.assert_close(kept.coefficients.rationale, twice.coefficients.rationale, atol=1e-7, rtol=2e-4)


def test_groups_are_kept_that_fit_and_may_have_a_gradient() -> None:
    groups = sampled_groups()
    sizes = [
        len(g.prompt.ids) + sum(len(r.rationale) + sum(1 + len(ids) for ids in g.prompt.gold_ids) for r in g.rollouts)
        for g in groups
    ]

    def kept(*overrides: str, max_tokens: int = 4096) -> list[bool]:
        config = config_of(*overrides, f"optimizer.micro_batch_tokens={max_tokens}")
        return keeps_forward(groups, plan_of(0, config), config).tolist()

    assert kept("estimator=garl") == [True, True, True]
    assert kept("estimator=garl", max_tokens=sorted(sizes)[1]) == [size <= sorted(sizes)[1] for size in sizes]
    assert kept("estimator=grpo") == [True, True, False]  # no answer of the last group is right: no reward differs
    assert kept("estimator=paft") == [False, False, False]


def test_only_what_paft_drew_is_trained_each_rationale_once() -> None:
    found, _ = learned(config_of("estimator=paft", "q=1"))
    groups = sampled_groups()
    drawn = (found.own.answer != 0).nonzero().tolist()
    assert 0 < len(drawn) < NUM_PROMPTS * NUM_ROLLOUTS
    expected = sum(len(groups[b].prompt.ids) for b in {b for b, _ in drawn})
    for b, m in drawn:
        branch = groups[b].rollouts[m]
        golds = groups[b].prompt.gold_ids
        expected += len(branch.rationale) + sum(len(branch.bridge) + len(ids) for ids in golds)
    assert found.work["trained_tokens"] == expected


def test_the_scoring_pass_has_logits_for_answers_and_for_the_first_rationale_of_a_group() -> None:
    found, _ = learned(config_of("estimator=paft", "q=1"))
    assert found.scores.rationale_is_scored.sum(-1).le(1).all()
    corrected, _ = learned(config_of("estimator=paft", "q=1", "rollout.importance_correction=sequence"))
    lengths = torch.tensor([[len(r.rationale) for r in g.rollouts] for g in sampled_groups()])
    assert torch.equal(corrected.scores.rationale_is_scored, lengths > 0)


def test_without_a_reward_grpo_has_no_gradient_and_its_golds_are_scored_all_the_same(tmp_path: Path) -> None:
    config = config_of("estimator=grpo")
    wrong = [Group(one.prompt, tuple(_answered(r, right=False) for r in one.rollouts)) for one in sampled_groups()]
    found = learn(policy(config), wrong, plan_of(0, config), config, Clock(lambda phase: None))
    assert found.loss is None
    assert found.work["trained_tokens"] == 0
    assert (found.batch.log_p_answer < 0).all()
