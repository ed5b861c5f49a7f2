"""The stations between the rollouts and the backward pass."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from small import group, prompt, rollout, run_config
from torch import Tensor

from tsallis_run import ranks
from tsallis_run.batch import RolloutNumbers, estimate, gather, mean_tokens, numbers_of, plan_of
from tsallis_run.config import RunConfig
from tsallis_run.diagnostics import diagnostics
from tsallis_run.estimators import garl, grpo
from tsallis_run.scoring import Scores
from tsallis_run.types import Answer, Coefficients, Example, Group, Prompt, RationaleEnd, Rollout

LOG_P = torch.tensor([[[-2.0], [-3.0]], [[-1.0], [-5.0]]], dtype=torch.float64)
RATIONALES = torch.full((2, 2, 1), -1.0, dtype=torch.float64)
ANSWERS = torch.full((2, 2, 5), -0.5, dtype=torch.float64)
SCORED = torch.ones(2, 2, dtype=torch.bool)
SCORES = Scores(LOG_P, RATIONALES, ANSWERS, SCORED)


@pytest.fixture(autouse=True)
def alone() -> None:
    ranks.join()


def answered(text: str, *, ended: bool, num_tokens: int = 2) -> Rollout:
    answer = Answer((6,) * num_tokens, (-1.0,) * num_tokens, text, ended)
    return Rollout((5,), (-1.5,), RationaleEnd.BUDGET, (3,), answer, 0)


def groups() -> list[Group]:
    one = Prompt(Example("one", "", "q", "12", aliases=("twelve",)), (5,), ((6, 1), (7, 1)))
    two = Prompt(Example("two", "", "q", "34"), (5,), ((6, 1),))
    return [
        Group(one, (answered(" twelve\n", ended=True), answered("12", ended=False))),
        Group(two, (answered("134", ended=True), answered("34", ended=True, num_tokens=5))),
    ]


def numbers(log_p: Tensor, reward: Tensor | None = None, num_tokens: Tensor | None = None) -> RolloutNumbers:
    nothing = torch.zeros_like(log_p)
    return RolloutNumbers(
        log_p_answer=log_p,
        reward=reward,
        unended=None if reward is None else nothing,
        rationale_tokens=torch.ones_like(log_p) if num_tokens is None else num_tokens,
        answer_tokens=nothing,
        ended_by_marker=nothing,
        ended_by_turn=nothing,
        compared_tokens=nothing,
        difference_sum=nothing,
        difference_max=nothing,
        log_ratio=None,
        whole_log_ratio=None,
    )


def estimated(batch: RolloutNumbers, step: int, config: RunConfig) -> Coefficients:
    return estimate(batch, plan_of(step, config), config, float(batch.num_tokens.mean()))


def test_a_reward_needs_an_exact_match_with_any_alias_and_the_end_token() -> None:
    batch = gather(numbers_of(groups(), SCORES, run_config()))
    assert batch.reward is not None
    # " twelve" is an alias; "12" was cut off; "134" is no exact match; "34" is
    assert batch.reward.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert batch.num_tokens.tolist() == [[3.0, 3.0], [3.0, 6.0]]  # rationale 1, answer 2 or 5


def test_without_sampled_answers_there_are_no_rewards() -> None:
    one = group(prompt((5,), (7,)), rollout((6,)), rollout((8, 9)))
    batch = gather(
        numbers_of([one], Scores(LOG_P[:1], torch.zeros(1, 2, 2).double(), ANSWERS[:1], SCORED[:1]), run_config())
    )
    assert batch.reward is None
    assert batch.log_p_answer.tolist() == [[-2.0, -3.0]]
    assert batch.num_tokens.tolist() == [[1.0, 2.0]]


def test_garl_is_estimated_from_log_p_and_grpo_from_rewards() -> None:
    batch = numbers(LOG_P[..., 0], torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    switches = {"baseline": True, "jackknife": False, "normalize": True, "answer_term": True}
    expected = garl(batch.log_p_answer, q=0.25, **switches)
    ours = estimated(batch, 0, run_config("estimator=garl", "q=0.25"))
    assert torch.equal(ours.rationale, expected.rationale)
    rewarded = grpo(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), scale_by_std=True, epsilon=1e-6)
    config = run_config("estimator=grpo", "loss.length_normalization=none")
    assert torch.equal(estimated(batch, 0, config).rationale, rewarded.rationale)


def test_grpos_coefficients_are_scaled_by_length() -> None:
    rewards, tokens = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 5.0]])
    batch = numbers(LOG_P[:1, :, 0], rewards, tokens)
    plain = estimated(batch, 0, run_config("estimator=grpo", "loss.length_normalization=none"))
    by_token = estimated(batch, 0, run_config("estimator=grpo"))
    torch.testing.assert_close(by_token.answer, plain.answer / 4)  # mean length (3 + 5) / 2


def test_pafts_draws_hang_on_seed_and_step_alone() -> None:
    batch = numbers(torch.zeros(4, 16))
    draw = [
        estimated(batch, step, run_config(f"seed={seed}")).answer for step, seed in [(3, 0), (3, 0), (4, 0), (3, 1)]
    ]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert not torch.equal(draw[0], draw[3])


def test_supervised_steps_come_first_and_train_the_answer_alone() -> None:
    config = run_config("estimator=grpo", "start=warm", "start.supervised_steps=2")
    assert [plan_of(step, config).by_reward for step in (0, 1, 2)] == [False, False, True]
    coefficients = estimated(numbers(LOG_P[..., 0]), 1, config)
    assert coefficients.rationale.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert coefficients.answer.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_mean_tokens_counts_rationale_and_answer() -> None:
    assert mean_tokens(groups()) == (3 + 3 + 3 + 6) / 4


def row_of(batch: RolloutNumbers, step: int, *overrides: str) -> dict[str, float]:
    config = run_config(*overrides)
    return diagnostics(batch, Coefficients(LOG_P[..., 0], LOG_P[..., 0]), plan_of(step, config), config)


def test_the_row_compares_engine_and_trainer_token_by_token() -> None:
    batch = gather(numbers_of(groups(), SCORES, run_config()))
    row = row_of(batch, 0, "estimator=grpo")
    # the engine said -1.5 for every rationale token, the trainer -1
    assert row["engine_trainer_difference_mean"] == pytest.approx(0.5)
    assert row["truncated_fraction"] == 1.0
    assert row["unended_fraction"] == 0.25
    assert row["reward"] == 0.5
    assert row["rationale_tokens"] == 1.0


def test_rationales_that_the_trainer_only_passed_through_are_not_compared() -> None:
    scored = torch.tensor([[True, False], [True, False]])
    batch = gather(numbers_of(groups(), replace(SCORES, rationale_is_scored=scored), run_config()))
    assert batch.compared_tokens.tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert batch.difference_sum.tolist() == [[0.5, 0.0], [0.5, 0.0]]
    assert row_of(batch, 0, "estimator=grpo")["engine_trainer_difference_mean"] == pytest.approx(0.5)


def test_q_moves_behind_the_supervised_steps_and_is_recorded() -> None:
    overrides = ("experiment=sft_then_rl", "q.num_steps=2", "start=warm", "start.supervised_steps=3")
    assert [plan_of(step, run_config(*overrides)).q for step in range(7)] == [1, 1, 1, 1, 1, 0, 0]
    batch = numbers(LOG_P[..., 0])
    assert [row_of(batch, step, *overrides)["q"] for step in (4, 5)] == [1, 0]
    assert "q" not in row_of(batch, 0, "estimator=grpo")
    switches = {"baseline": True, "jackknife": False, "normalize": False, "answer_term": True}
    for step, q in ((4, 1.0), (5, 0.0)):
        expected = garl(batch.log_p_answer, q=q, **switches)
        assert torch.equal(estimated(batch, step, run_config(*overrides)).rationale, expected.rationale)


@pytest.mark.parametrize(
    ("level", "ratio"),
    # Trainer -1 and engine -1.5 for each of two tokens: 0.5 nats each. log 1.5 = 0.405 cuts a token, and their sum 1.
    [("sequence", math.log(1.5)), ("token", 2 * math.log(1.5))],
)
def test_rollouts_of_other_weights_are_weighed_by_a_truncated_ratio(level: str, ratio: float) -> None:
    config = run_config(
        "estimator=garl", "q=0.5", f"rollout.importance_correction={level}", "rollout.importance_limit=1.5"
    )
    stale = [Rollout((5, 6), (-1.5, -1.5), RationaleEnd.BUDGET, (3,), None, 0), rollout((), (3,))]
    scores = Scores(LOG_P[:1], torch.tensor([[[-1.0, -1.0], [0.0, 0.0]]], dtype=torch.float64), ANSWERS[:1], SCORED[:1])
    batch = gather(numbers_of([group(prompt((5,), (7, 1)), *stale)], scores, config))
    assert batch.log_ratio is not None
    torch.testing.assert_close(batch.log_ratio, torch.tensor([[ratio, 0.0]], dtype=torch.float64))
    switches = {"baseline": True, "jackknife": False, "normalize": True, "answer_term": True}
    expected = garl(LOG_P[:1, :, 0], q=0.5, log_ratio=batch.log_ratio, **switches)
    assert torch.equal(estimated(batch, 0, config).rationale, expected.rationale)
    row = diagnostics(batch, expected, plan_of(0, config), config)
    assert row["importance_truncated_fraction"] == 0.5
    assert row["importance_ratio_mean"] == pytest.approx((math.exp(ratio) + 1) / 2)


def test_by_default_rollouts_count_as_the_trainers_own() -> None:
    assert numbers_of(groups(), SCORES, run_config()).log_ratio is None


def test_the_jackknife_is_distrusted_where_one_weight_dominates() -> None:
    # ESS of (e^-2, e^-3, e^-3): (1 + 2/e)^2 / (1 + 2/e^2) = 2.37; of (e^-2, e^-9, e^-9): 1.004.
    batch = numbers(torch.tensor([[-2.0, -3.0, -3.0], [-2.0, -9.0, -9.0]]).double())
    assert row_of(batch, 0, "estimator=garl", "estimator.jackknife=true")["jackknife_distrusted"] == 0.5
    assert "jackknife_distrusted" not in row_of(batch, 0, "estimator=garl")


def test_a_sampled_answer_counts_in_the_ratio_of_its_rollout() -> None:
    config = run_config("estimator=grpo", "rollout.importance_correction=sequence", "rollout.importance_limit=8")
    # Rationale: -1 against -1.5. Answer: 2 or 5 tokens of -0.5 against -1. All tokens gain 0.5 nats.
    answers = torch.tensor([[[-0.5] * 2 + [0.0] * 3] * 2, [[-0.5] * 2 + [0.0] * 3, [-0.5] * 5]], dtype=torch.float64)
    batch = gather(numbers_of(groups(), Scores(LOG_P, RATIONALES, answers, SCORED), config))
    assert batch.log_ratio is not None
    limit = math.log(8)
    torch.testing.assert_close(batch.log_ratio, torch.tensor([[1.5, 1.5], [1.5, limit]], dtype=torch.float64))
    plain = estimated(replace(batch, log_ratio=None), 0, config)
    weighed = estimated(batch, 0, config)
    torch.testing.assert_close(weighed.rationale, plain.rationale * batch.log_ratio.exp())
    torch.testing.assert_close(weighed.answer, plain.answer * batch.log_ratio.exp())
