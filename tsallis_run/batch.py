"""The stations of one step between rollouts and backward pass: score, gather, estimate, weigh the tokens."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tsallis_run import ranks
from tsallis_run.config import RunConfig
from tsallis_run.estimators import supervised, truncated_log_ratio
from tsallis_run.estimators.choose import Estimator, estimator_for
from tsallis_run.estimators.q_schedule import q_at
from tsallis_run.grading import deserves_reward
from tsallis_run.loss import length_scale
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.scoring import (
    MicroBatch,
    Scores,
    collect_scores,
    engine_answer_log_probs,
    engine_log_probs,
    gold_and_sampled_answers,
    gold_answers,
    micro_batches,
    sampled_answer,
    token_coefficients,
    trees,
)
from tsallis_run.types import Coefficients, Group, RationaleEnd, Rollout

PerRollout = Float[Tensor, "prompts rollouts"]


@dataclass(frozen=True)
class StepPlan:
    """What one step learns by."""

    phase: str
    """supervised, or the name of the estimator."""
    q: float | None
    """None where the estimator uses none."""
    by_reward: bool
    """True where it learns from the model's own answers, False where it learns from y*."""
    estimator: Estimator
    draw_seed: int
    """Of the estimator's random draws: a hash of run seed and step, the same on every rank."""


def plan_of(step: int, config: RunConfig) -> StepPlan:
    """The plan of a step (from 0): plain supervised steps first, where the start asks for them.

    A schedule of q stands at its start during the supervised steps and counts those behind them.
    """
    digest = hashlib.sha256(f"draws of seed {config.seed}, step {step}".encode()).digest()
    draw_seed = int.from_bytes(digest[:7], "little")
    num_estimated = step - config.start.supervised_steps
    q = None if config.q is None else q_at(config.q, max(num_estimated, 0))
    if num_estimated < 0:
        return StepPlan("supervised", q, False, lambda signal, generator, log_ratio: supervised(signal), draw_seed)
    estimator = estimator_for(config.estimator, q)
    return StepPlan(config.estimator.name, q, config.samples_answers, estimator, draw_seed)


@dataclass(frozen=True)
class RolloutNumbers:
    """One number per rollout of everything that coefficients and records need of other ranks' rollouts."""

    log_p_answer: PerRollout
    """log p(y*|x,z) in nats."""
    reward: PerRollout | None
    """1 where the sampled answer is right; None where no answers were sampled."""
    unended: PerRollout | None
    """1 where the sampled answer was cut off."""
    rationale_tokens: PerRollout
    answer_tokens: PerRollout
    """Sampled ones; 0 where no answer was sampled."""
    ended_by_marker: PerRollout
    ended_by_turn: PerRollout
    difference_sum: PerRollout
    """|engine - trainer| log-prob over the tokens of z, in nats."""
    difference_max: PerRollout
    log_ratio: PerRollout | None
    """Truncated importance ratio of what was sampled, in nats; None where rollouts count as the trainer's own."""
    whole_log_ratio: PerRollout | None
    """The same as measured."""

    @property
    def num_tokens(self) -> PerRollout:
        """Sampled tokens, rationale and answer."""
        return self.rationale_tokens + self.answer_tokens


def score(policy: ZeroPolicy, groups: Sequence[Group], plan: StepPlan, config: RunConfig) -> Scores:
    """The trainer's log-probs of this rank's rationales and gold answers; of sampled answers where a ratio is due."""
    max_tokens = config.optimizer.micro_batch_tokens
    corrected = config.rollout.importance_correction != "none"
    answers = gold_and_sampled_answers if plan.by_reward and corrected else gold_answers
    batches = micro_batches(trees(groups, answers, max_tokens=max_tokens), max_tokens=max_tokens)
    return collect_scores(batches, policy.log_probs(batches), groups)


def numbers_of(groups: Sequence[Group], scores: Scores, config: RunConfig) -> RolloutNumbers:
    """This rank's numbers."""
    ours, theirs = scores.rationale_log_probs, engine_log_probs(groups)
    answered = all(rollout.answer is not None for group in groups for rollout in group.rollouts)
    log_ratio, whole_log_ratio = _log_ratios(groups, scores, config, answered=answered)
    return RolloutNumbers(
        log_p_answer=scores.log_p_answer,
        reward=_each(groups, _reward) if answered else None,
        unended=_each(groups, lambda _, r: r.answer is not None and not r.answer.ended) if answered else None,
        rationale_tokens=_each(groups, lambda _, r: len(r.rationale)),
        answer_tokens=_each(groups, lambda _, r: len(r.answer.ids) if r.answer else 0),
        ended_by_marker=_each(groups, lambda _, r: r.end is RationaleEnd.MARKER),
        ended_by_turn=_each(groups, lambda _, r: r.end is RationaleEnd.END_OF_TURN),
        difference_sum=(ours - theirs).abs().sum(-1),
        difference_max=(ours - theirs).abs().amax(-1),
        log_ratio=log_ratio,
        whole_log_ratio=whole_log_ratio,
    )


def _log_ratios(
    groups: Sequence[Group], scores: Scores, config: RunConfig, *, answered: bool
) -> tuple[PerRollout, PerRollout] | tuple[None, None]:
    """The truncated ratio and the whole one, of all that was sampled; None where no correction is wanted."""
    level, limit = config.rollout.importance_correction, config.rollout.importance_limit
    if level == "none":
        return None, None
    ours, theirs = scores.rationale_log_probs, engine_log_probs(groups)
    if answered:
        ours = torch.cat([ours, scores.answer_log_probs], dim=-1)
        theirs = torch.cat([theirs, engine_answer_log_probs(groups)], dim=-1)
    whole = truncated_log_ratio(ours, theirs, level="sequence", limit=math.inf)
    return truncated_log_ratio(ours, theirs, level=level, limit=limit), whole


def gather(own: RolloutNumbers) -> RolloutNumbers:
    """The numbers of all ranks, in the order of the prompts: coefficients see whole groups and the whole batch."""
    columns: dict[str, Any] = {field.name: getattr(own, field.name) for field in fields(own)}
    for name, column in columns.items():
        if column is not None:
            columns[name] = torch.tensor(ranks.gathered(column.tolist()), dtype=torch.float64)
    return RolloutNumbers(**columns)


def estimate(batch: RolloutNumbers, plan: StepPlan, config: RunConfig) -> Coefficients:
    """Coefficients of the global batch, the same on every rank; NaN, all of them, where a log-prob is."""
    if batch.log_p_answer.isnan().any():
        unknown = torch.full_like(batch.log_p_answer, torch.nan)
        return Coefficients(unknown, unknown)
    generator = torch.Generator().manual_seed(plan.draw_seed)
    if not plan.by_reward:
        return plan.estimator(batch.log_p_answer, generator, batch.log_ratio)
    assert batch.reward is not None, "this estimator needs rewards, the batch was sampled without answers"
    coefficients = plan.estimator(batch.reward, generator, batch.log_ratio)
    scale = length_scale(batch.num_tokens, config.loss)
    return Coefficients(coefficients.rationale * scale, coefficients.answer * scale)


def training_batches(
    groups: Sequence[Group], scores: Scores, coefficients: Coefficients, plan: StepPlan, *, max_tokens: int
) -> tuple[list[MicroBatch], list[Tensor]]:
    """Micro-batches of this rank's rollouts with a non-zero coefficient, and the coefficient of every token.

    A rollout whose coefficients are zero gets no backward pass; one that PAFT drew twice is trained once.
    """
    keep = (coefficients.rationale != 0) | (coefficients.answer != 0)
    answers = sampled_answer if plan.by_reward else gold_answers
    batches = micro_batches(trees(groups, answers, max_tokens=max_tokens, keep=keep), max_tokens=max_tokens)
    shares = torch.ones(*keep.shape, 1, dtype=torch.float64) if plan.by_reward else scores.log_p_alias.softmax(-1)
    shares = shares.nan_to_num(0.0)  # no alias has mass: its coefficient is 0 too
    return batches, [token_coefficients(batch, coefficients, shares) for batch in batches]


def _each(groups: Sequence[Group], number: Callable[[Group, Rollout], float | int | bool]) -> PerRollout:
    rows = [[float(number(group, rollout)) for rollout in group.rollouts] for group in groups]
    return torch.tensor(rows, dtype=torch.float64)


def _reward(group: Group, rollout: Rollout) -> float:
    answer = rollout.answer
    assert answer is not None, "a reward needs an answer"
    return float(deserves_reward(answer, group.prompt.example.golds))
