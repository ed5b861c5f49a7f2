"""From groups to rows of rollouts/*.jsonl: what was sampled as text, with what was made of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from tsallis_run.grading import Match, deserves_reward, is_right, normal_form
from tsallis_run.metrics import majority_vote
from tsallis_run.tracking.rollout_rows import RolloutRow
from tsallis_run.types import Coefficients, Group, Rollout

Decode = Callable[[Sequence[int]], str]
"""Token ids -> text, special tokens kept: they show where a rationale ended."""


def training_rows(
    step: int,
    groups: Sequence[Group],
    log_p_answer: Float[Tensor, "prompts rollouts"] | None,
    coefficients: Coefficients,
    decode: Decode,
) -> Iterator[RolloutRow]:
    """One row per rollout, groups in their order.

    Args:
        step: the optimizer step that these rollouts feed.
        groups: the step's groups, every one with the same number of rollouts.
        log_p_answer: in nats, -inf without mass; None for an estimator that does not score y*.
        coefficients: the estimator's, shaped like `log_p_answer`.
        decode: token ids to text.
    """
    rationale_coefficients, answer_coefficients = coefficients.rationale.tolist(), coefficients.answer.tolist()
    log_weights = None if log_p_answer is None else log_p_answer.tolist()
    for b, group in enumerate(groups):
        prompt, golds = decode(group.prompt.ids), group.prompt.example.golds
        for m, rollout in enumerate(group.rollouts):
            yield replace(
                _bare_row("train", step, group, prompt, rollout, decode),
                right=deserves_reward(rollout.answer, golds) if rollout.answer else None,
                log_p_answer=None if log_weights is None else _or_none(log_weights[b][m]),
                rationale_coefficient=rationale_coefficients[b][m],
                answer_coefficient=answer_coefficients[b][m],
            )


def evaluation_rows(
    split: str, step: int, groups: Sequence[Group], match: Match, decode: Decode
) -> Iterator[RolloutRow]:
    """One row per sampled answer of an evaluation, with its grade and whether its group voted for it.

    Args:
        split: validation or test.
        step: optimizer steps behind the weights.
        groups: evaluated examples, each with its sampled answers.
        match: how answers are graded, `evaluation.match`.
        decode: token ids to text.
    """
    for group in groups:
        prompt, golds = decode(group.prompt.ids), group.prompt.example.golds
        answers = [rollout.answer for rollout in group.rollouts if rollout.answer is not None]
        assert len(answers) == len(group.rollouts), f"{len(answers)} of {len(group.rollouts)} rollouts have an answer"
        elected = normal_form(majority_vote([answer.text for answer in answers]))
        for rollout, answer in zip(group.rollouts, answers, strict=True):
            yield replace(
                _bare_row(split, step, group, prompt, rollout, decode),
                right=is_right(answer.text, golds, match),
                elected=normal_form(answer.text) == elected,
            )


def _bare_row(split: str, step: int, group: Group, prompt: str, rollout: Rollout, decode: Decode) -> RolloutRow:
    """What was sampled, without what was made of it."""
    example, answer = group.prompt.example, rollout.answer
    return RolloutRow(
        step=step,
        split=split,
        example_id=example.id,
        prompt=prompt,
        gold=example.answer,
        aliases=example.aliases,
        rationale=decode(rollout.rationale),
        end=rollout.end.value,
        bridge=decode(rollout.bridge),
        answer=answer.text if answer else None,
        answer_ended=answer.ended if answer else None,
        right=None,
        elected=None,
        log_p_answer=None,
        rationale_coefficient=None,
        answer_coefficient=None,
        policy_version=rollout.policy_version,
    )


def _or_none(log_weight: float) -> float | None:
    """JSON has no -Infinity."""
    return None if log_weight == -math.inf else log_weight
