"""Packed trees give the log-probs of the separate sequences."""

from __future__ import annotations

import random
from functools import cache

import pytest
import torch
from small import group, plain_model, prompt, rollout, run_config
from torch import Tensor

from tsallis_run.packing import MicroBatch, empty_micro_batch, micro_batches
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.policy.token_scorer import TokenScorer, load_scorer
from tsallis_run.scoring import collect_scores, gold_and_sampled_answers, gold_answers, token_coefficients
from tsallis_run.tree import IN_RATIONALE, trees
from tsallis_run.types import Coefficients, Group

ROUNDING = 2e-5
"""float32 sums of ten log-probs in another order."""


@pytest.fixture(scope="module")
def scorer() -> TokenScorer:
    config = run_config().model
    return load_scorer(model_folder(config, seed=0), config)


def random_groups(num_prompts: int, num_rollouts: int) -> list[Group]:
    draw = random.Random(0)

    def ids(longest: int, shortest: int = 1) -> tuple[int, ...]:
        return tuple(draw.randrange(5, 48) for _ in range(draw.randint(shortest, longest)))

    return [
        group(prompt(ids(9), ids(4), ids(2)), *(rollout(ids(6, shortest=0), (3,)) for _ in range(num_rollouts)))
        for _ in range(num_prompts)
    ]


def forward(scorer: TokenScorer, batch: MicroBatch) -> Tensor:
    return scorer(batch=batch)


reference = cache(plain_model)


@torch.no_grad()
def separate_log_probs(ids: tuple[int, ...]) -> Tensor:
    logits = reference()(torch.tensor([ids])).logits[0]
    return logits.log_softmax(-1)[range(len(ids) - 1), ids[1:]]


@pytest.mark.parametrize("max_tokens", [1, 30, 80, 4096])
def test_a_packed_tree_scores_every_branch_as_if_it_stood_alone(scorer: TokenScorer, max_tokens: int) -> None:
    groups = random_groups(3, 5)
    batches = micro_batches(trees(groups, gold_answers, max_tokens=max_tokens), max_tokens=max_tokens)
    with torch.no_grad():
        scores = collect_scores(batches, [forward(scorer, batch) for batch in batches], groups)
    for b, one in enumerate(groups):
        for m, r in enumerate(one.rollouts):
            stem = one.prompt.ids + r.rationale
            for k, gold in enumerate(one.prompt.gold_ids):
                expected = separate_log_probs(stem + r.bridge + gold)[-len(gold) :].sum()
                assert scores.log_p_alias[b, m, k].item() == pytest.approx(expected.item(), abs=ROUNDING)
            if r.rationale:
                expected_tokens = separate_log_probs(stem)[-len(r.rationale) :].tolist()
                ours = scores.rationale_log_probs[b, m].tolist()
                padding = [0.0] * (len(ours) - len(expected_tokens))
                assert ours == pytest.approx(expected_tokens + padding, abs=ROUNDING)


def test_a_group_over_the_budget_is_cut_and_no_rollout_is_lost() -> None:
    groups = random_groups(2, 6)
    pieces = trees(groups, gold_answers, max_tokens=40)
    scored = sorted(
        (t.prompt, s.rollout) for t in pieces for s in t.spans if s.rollout >= 0 and s.alias == IN_RATIONALE
    )
    assert scored == [(b, m) for b in range(2) for m in range(6)]
    assert all(piece.num_tokens <= 40 for piece in pieces)
    assert len(pieces) > len(groups)


def test_micro_batches_keep_to_the_budget() -> None:
    batches = micro_batches(trees(random_groups(9, 4), gold_answers, max_tokens=150), max_tokens=150)
    assert all(batch.num_tokens <= 150 for batch in batches)


def test_forced_tokens_are_not_scored() -> None:
    one = group(prompt((5, 6), (7, 1)), rollout((8, 9), bridge=(3, 4)))
    (batch,) = micro_batches(trees([one], gold_answers, max_tokens=99), max_tokens=99)
    # rationale 8 9, then the answer 7 1; the bridge 3 4 is context only
    assert batch.target.tolist() == [8, 9, 7, 1]
    assert batch.alias.tolist() == [IN_RATIONALE, IN_RATIONALE, 0, 0]
    # x = 5 6 | z = 8 9 | bridge 3 4, y* = 7 1: the answer's first token is predicted by the bridge's last, index 5
    assert batch.predictor.tolist() == [1, 2, 5, 6]
    assert batch.positions.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


def test_log_p_answer_sums_over_aliases() -> None:
    one = group(prompt((5,), (7, 1), (8, 1)), rollout((9,)))
    (batch,) = micro_batches(trees([one], gold_answers, max_tokens=99), max_tokens=99)
    log_probs = torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0])  # z; alias 0: -2 - 3; alias 1: -4 - 5
    scores = collect_scores([batch], [log_probs], [one])
    expected = torch.tensor([-5.0, -9.0], dtype=torch.float64).logsumexp(-1)
    assert scores.log_p_answer[0, 0] == pytest.approx(expected.item())
    assert scores.rationale_log_probs.tolist() == [[[-1.0]]]


def test_a_prompt_with_fewer_aliases_has_no_mass_on_the_missing_ones() -> None:
    groups = [group(prompt((5,), (7,)), rollout((9,))), group(prompt((5,), (7,), (8,)), rollout((9,)))]
    batches = micro_batches(trees(groups, gold_answers, max_tokens=99), max_tokens=99)
    scores = collect_scores(batches, [torch.full((batch.num_scored,), -1.0) for batch in batches], groups)
    assert scores.log_p_alias[0, 0].tolist() == [-1.0, -torch.inf]


def test_a_sampled_answer_is_scored_beside_the_golds_and_counts_as_none_of_them(scorer: TokenScorer) -> None:
    one = group(prompt((5, 6), (7, 1), (8, 9, 1)), rollout((10, 11), (3,), (12, 1)), rollout((13,), (3,), (14, 15, 1)))
    two = group(prompt((6, 7, 8), (9, 1)), rollout((10,), (3,), (12,)), rollout((), (3,), (14, 1)))
    groups = [one, two]
    with torch.no_grad():
        batches = micro_batches(trees(groups, gold_and_sampled_answers, max_tokens=99), max_tokens=99)
        scores = collect_scores(batches, [forward(scorer, batch) for batch in batches], groups)
        golds = micro_batches(trees(groups, gold_answers, max_tokens=99), max_tokens=99)
        alone = collect_scores(golds, [forward(scorer, batch) for batch in golds], groups)
    torch.testing.assert_close(scores.log_p_alias, alone.log_p_alias, atol=ROUNDING, rtol=0)
    torch.testing.assert_close(scores.rationale_log_probs, alone.rationale_log_probs, atol=ROUNDING, rtol=0)
    for row, of_prompt in enumerate(groups):
        for index, sampled in enumerate(of_prompt.rollouts):
            assert sampled.answer is not None
            sequence = (*of_prompt.prompt.ids, *sampled.rationale, *sampled.bridge, *sampled.answer.ids)
            expected = separate_log_probs(sequence)[-len(sampled.answer.ids) :].double()
            padded = torch.nn.functional.pad(expected, (0, 3 - len(expected)))
            torch.testing.assert_close(scores.answer_log_probs[row, index], padded, atol=ROUNDING, rtol=0)


def test_every_token_gets_its_rollouts_coefficient_and_aliases_share_it() -> None:
    one = group(prompt((5,), (7, 1), (8,)), rollout((9,)), rollout((4,)))
    (batch,) = micro_batches(trees([one], gold_answers, max_tokens=99), max_tokens=99)
    coefficients = Coefficients(torch.tensor([[2.0, 3.0]]), torch.tensor([[10.0, 20.0]]))
    shares = torch.tensor([[[0.25, 0.75], [0.5, 0.5]]])
    # rollout 0: z 2; alias 0 (two tokens) 10 x 0.25; alias 1: 10 x 0.75. rollout 1: z 3; 20 x 0.5 each
    expected = [2.0, 2.5, 2.5, 7.5, 3.0, 10.0, 10.0, 10.0]
    assert token_coefficients(batch, coefficients, shares).tolist() == expected


def test_an_empty_micro_batch_scores_nothing_and_stays_attached_to_every_weight(scorer: TokenScorer) -> None:
    scorer.zero_grad()
    log_probs = forward(scorer, empty_micro_batch())
    assert log_probs.shape == (0,)
    log_probs.sum().backward()
    for name, weight in scorer.named_parameters():
        assert weight.grad is not None, f"{name} is not attached"
        assert not weight.grad.any()
    scorer.zero_grad()
