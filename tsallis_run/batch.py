"""What a step learns by, the numbers of its rollouts, and the estimator's coefficients from them."""

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
from tsallis_run.config import PaftConfig, QPerExample, QSchedule, RunConfig
from tsallis_run.estimators import supervised, truncated_log_ratio
from tsallis_run.estimators.choose import Estimator, estimator_for
from tsallis_run.estimators.log_weights import Q
from tsallis_run.estimators.q_per_example import q_of
from tsallis_run.estimators.q_schedule import q_at
from tsallis_run.grading import deserves_reward
from tsallis_run.loss import length_scale
from tsallis_run.scoring import Scores, engine_answer_log_probs, engine_log_probs
from tsallis_run.types import Coefficients, Group, RationaleEnd, Rollout

PerRollout = Float[Tensor, "prompts rollouts"]


@dataclass(frozen=True)
class StepPlan:
    """What one step learns by."""

    phase: str
    """supervised, or the name of the estimator."""
    q: Q | None
    """One for all prompts or one for each; None where the estimator uses none."""
    by_reward: bool
    """True where it learns from the model's own answers, False where it learns from y*."""
    estimator: Estimator
    """For the global batch."""
    own_estimator: Estimator | None
    """For this rank's prompts; None where random draws run through the whole batch (PAFT)."""
    draw_seed: int
    """Of the estimator's random draws: a hash of run seed and step, the same on every rank."""


def plan_of(step: int, config: RunConfig, last_log_p: Sequence[float | None] = ()) -> StepPlan:
    """The plan of a step (from 0): plain supervised steps first, where the start asks for them.

    A schedule of q stands at its start during the supervised steps and counts those behind them.

    Args:
        last_log_p: of each prompt of the global batch, for a q per example; see `q_of`.
    """
    digest = hashlib.sha256(f"draws of seed {config.seed}, step {step}".encode()).digest()
    draw_seed = int.from_bytes(digest[:7], "little")
    num_estimated = step - config.start.supervised_steps
    q = _q(config.q, max(num_estimated, 0), last_log_p)
    if num_estimated < 0:
        return StepPlan("supervised", q, False, _supervised, _supervised, draw_seed)
    estimator = estimator_for(config.estimator, q)
    own = estimator_for(config.estimator, ranks.share(q) if isinstance(q, Tensor) else q)
    draws = isinstance(config.estimator, PaftConfig)
    return StepPlan(config.estimator.name, q, config.samples_answers, estimator, None if draws else own, draw_seed)


def _supervised(signal: PerRollout, generator: torch.Generator, log_ratio: PerRollout | None) -> Coefficients:
    return supervised(signal)


def _q(q: float | QSchedule | QPerExample | None, step: int, last_log_p: Sequence[float | None]) -> Q | None:
    if q is None:
        return None
    return q_of(last_log_p, q) if isinstance(q, QPerExample) else q_at(q, step)


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
    compared_tokens: PerRollout
    """Tokens of z that the trainer scored; 0 where z was only passed through."""
    difference_sum: PerRollout
    """|engine - trainer| log-prob over them, in nats."""
    difference_max: PerRollout
    log_ratio: PerRollout | None
    """Truncated importance ratio of what was sampled, in nats; None where rollouts count as the trainer's own."""
    whole_log_ratio: PerRollout | None
    """The same as measured."""

    @property
    def log_w(self) -> PerRollout:
        """log p(y*|x,z) as the estimators weigh it: with the log of the importance ratio where there is one."""
        return self.log_p_answer if self.log_ratio is None else self.log_p_answer + self.log_ratio

    @property
    def num_tokens(self) -> PerRollout:
        """Sampled tokens, rationale and answer."""
        return self.rationale_tokens + self.answer_tokens


def numbers_of(groups: Sequence[Group], scores: Scores, config: RunConfig) -> RolloutNumbers:
    """This rank's numbers."""
    difference = (scores.rationale_log_probs - engine_log_probs(groups)).abs() * scores.rationale_is_scored[..., None]
    rationale_tokens = _each(groups, lambda _, r: len(r.rationale))
    answered = all(rollout.answer is not None for group in groups for rollout in group.rollouts)
    log_ratio, whole_log_ratio = _log_ratios(groups, scores, config, answered=answered)
    return RolloutNumbers(
        log_p_answer=scores.log_p_answer,
        reward=rewards_of(groups) if answered else None,
        unended=_each(groups, lambda _, r: r.answer is not None and not r.answer.ended) if answered else None,
        rationale_tokens=rationale_tokens,
        answer_tokens=_each(groups, lambda _, r: len(r.answer.ids) if r.answer else 0),
        ended_by_marker=_each(groups, lambda _, r: r.end is RationaleEnd.MARKER),
        ended_by_turn=_each(groups, lambda _, r: r.end is RationaleEnd.END_OF_TURN),
        compared_tokens=rationale_tokens * scores.rationale_is_scored,
        difference_sum=difference.sum(-1),
        difference_max=difference.amax(-1),
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


def mean_tokens(groups: Sequence[Group]) -> float:
    """Sampled tokens per rollout of the global batch, rationale and answer; collective."""
    lengths = [len(r.rationale) + (len(r.answer.ids) if r.answer else 0) for group in groups for r in group.rollouts]
    return ranks.total(float(sum(lengths))) / ranks.total(float(len(lengths)))


def rewards_of(groups: Sequence[Group]) -> PerRollout:
    """1 where the sampled answer is right, else 0."""
    return _each(groups, _reward)


def estimate(batch: RolloutNumbers, plan: StepPlan, config: RunConfig, mean_tokens: float) -> Coefficients:
    """Coefficients of the global batch, the same on every rank; NaN, all of them, where a log-prob is.

    Args:
        mean_tokens: see `mean_tokens`.
    """
    generator = torch.Generator().manual_seed(plan.draw_seed)
    return _coefficients(batch, plan, plan.estimator, generator, config, mean_tokens)


def estimate_own(batch: RolloutNumbers, plan: StepPlan, config: RunConfig, mean_tokens: float) -> Coefficients:
    """The same for this rank's numbers, by an estimator whose coefficients depend on one group each."""
    assert plan.own_estimator is not None, f"the draws of {plan.phase} run through the whole batch"
    return _coefficients(batch, plan, plan.own_estimator, torch.Generator(), config, mean_tokens)


def _coefficients(
    batch: RolloutNumbers,
    plan: StepPlan,
    estimator: Estimator,
    generator: torch.Generator,
    config: RunConfig,
    mean_tokens: float,
) -> Coefficients:
    if batch.log_p_answer.isnan().any():
        unknown = torch.full_like(batch.log_p_answer, torch.nan)
        return Coefficients(unknown, unknown)
    if not plan.by_reward:
        return estimator(batch.log_p_answer, generator, batch.log_ratio)
    assert batch.reward is not None, "this estimator needs rewards, the batch was sampled without answers"
    coefficients = estimator(batch.reward, generator, batch.log_ratio)
    scale = length_scale(batch.num_tokens, config.loss, mean_tokens=mean_tokens)
    return Coefficients(coefficients.rationale * scale, coefficients.answer * scale)


def _each(groups: Sequence[Group], number: Callable[[Group, Rollout], float | int | bool]) -> PerRollout:
    rows = [[float(number(group, rollout)) for rollout in group.rollouts] for group in groups]
    return torch.tensor(rows, dtype=torch.float64)


def _reward(group: Group, rollout: Rollout) -> float:
    answer = rollout.answer
    assert answer is not None, "a reward needs an answer"
    return float(deserves_reward(answer, group.prompt.example.golds))
