"""Rows of rollouts/*.jsonl by hand."""

from __future__ import annotations

from tsallis_run.tracking.rollout_rows import RolloutRow


def sampled(
    *,
    step: int = 50,
    example_id: str = "one",
    rationale: str = "z",
    end: str = "marker",
    log_p_answer: float | None = -1.0,
    coefficient: float = 1.0,
) -> RolloutRow:
    """A training rollout of an estimator that scores the gold answer."""
    return RolloutRow(
        step=step,
        split="train",
        example_id=example_id,
        prompt="What is 2+2?<think>",
        gold="4",
        aliases=("four",),
        rationale=rationale,
        end=end,
        bridge="</think>",
        answer=None,
        answer_ended=None,
        right=None,
        elected=None,
        log_p_answer=log_p_answer,
        rationale_coefficient=coefficient,
        answer_coefficient=coefficient,
        policy_version=step - 1,
    )


def answered(
    answer: str, *, split: str = "test", step: int = 50, right: bool = False, elected: bool = False
) -> RolloutRow:
    """A rollout of an evaluation."""
    return RolloutRow(
        step=step,
        split=split,
        example_id="one",
        prompt="What is 2+2?<think>",
        gold="4",
        aliases=("four",),
        rationale="z",
        end="marker",
        bridge="</think>",
        answer=answer,
        answer_ended=True,
        right=right,
        elected=elected,
        log_p_answer=None,
        rationale_coefficient=None,
        answer_coefficient=None,
        policy_version=step,
    )
