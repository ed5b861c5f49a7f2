"""Trees packed without padding, and which of their tokens attend to which."""

from __future__ import annotations

import random

import pytest
import torch
from small import group, prompt, rollout
from test_scoring import ROUNDING, forward, scorer, separate_log_probs

from tsallis_run import packing
from tsallis_run.packing import NO_TOKEN, MicroBatch, micro_batches
from tsallis_run.policy.packed_attention import packed
from tsallis_run.policy.token_scorer import TokenScorer
from tsallis_run.scoring import collect_scores, gold_answers
from tsallis_run.tree import trees
from tsallis_run.types import Group, Rollout

__all__ = ["scorer"]


def groups_of(prompt_lengths: tuple[int, ...], *, longest: int) -> list[Group]:
    draw = random.Random(1)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(draw.randrange(5, 48) for _ in range(length))

    def branch() -> Rollout:
        return rollout(ids(draw.randint(0, longest)), (3,))

    return [group(prompt(ids(n), ids(3), ids(2)), *(branch() for _ in range(6))) for n in prompt_lengths]


def packed_together(groups: list[Group]) -> MicroBatch:
    (batch,) = micro_batches(trees(groups, gold_answers, max_tokens=4096), max_tokens=4096)
    return batch


@pytest.mark.parametrize("long_tokens", [1, 16, 512])
@pytest.mark.parametrize("prompt_lengths", [(2, 60, 37), (64,), (1,)])
def test_branches_put_together_or_alone_score_as_if_each_stood_alone(
    scorer: TokenScorer, prompt_lengths: tuple[int, ...], long_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LONG_TOKENS", long_tokens)
    groups = groups_of(prompt_lengths, longest=23)
    batch = packed_together(groups)
    with torch.no_grad():
        scores = collect_scores([batch], [forward(scorer, batch)], groups)
    for b, one in enumerate(groups):
        for m, r in enumerate(one.rollouts):
            for k, gold in enumerate(one.prompt.gold_ids):
                sequence = one.prompt.ids + r.rationale + r.bridge + gold
                expected = separate_log_probs(sequence)[-len(gold) :].sum()
                assert scores.log_p_alias[b, m, k].item() == pytest.approx(expected.item(), abs=ROUNDING)


@pytest.mark.parametrize("long_tokens", [1, 16, 512])
def test_every_token_asks_once_and_sees_what_it_grows_from(long_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LONG_TOKENS", long_tokens)
    batch = packed_together(groups_of((2, 60, 37), longest=23))
    asked = torch.cat([stretches.queries.flatten() for stretches in batch.stretches])
    assert torch.equal(asked[batch.place], torch.arange(batch.num_tokens))
    earlier = torch.arange(batch.num_tokens)
    expected = batch.ancestors[batch.span[:, None], batch.span[None, :]] & (earlier[None, :] <= earlier[:, None])
    found = torch.zeros_like(expected)
    for stretches, rows in zip(batch.stretches, packed(batch).rows, strict=True):
        length = stretches.queries.shape[1]
        visible = torch.ones(length, length).tril().bool() if rows.visible is None else rows.visible[:, 0]
        for row in range(len(stretches.queries)):
            of_row = visible if rows.visible is None else visible[row]
            for i, asking in enumerate(stretches.queries[row].tolist()):
                seen = stretches.keys[row][of_row[i]]
                if i == 0 or asking != stretches.queries[row, 0]:  # else padding, which nothing looks at
                    found[asking, seen[seen != NO_TOKEN]] = True
    assert torch.equal(found, expected)


def test_rows_are_padded_by_less_than_half() -> None:
    batch = packed_together(groups_of((2, 60, 37, 64, 9), longest=60))
    assert batch.num_tokens <= batch.num_queries < 2 * batch.num_tokens


def test_a_trunk_alone_needs_no_mask_and_no_mask_is_as_large_as_all_pairs() -> None:
    batch = packed_together(groups_of((60, 60), longest=23))
    rows = packed(batch).rows
    assert any(row.visible is None for row in rows)
    assert sum(row.visible.numel() for row in rows if row.visible is not None) < batch.num_tokens**2 / 2
