"""The numbers of a train row that say how a step went, beside loss and seconds."""

from __future__ import annotations

from torch import Tensor

from tsallis_run.batch import RolloutNumbers, StepPlan
from tsallis_run.config import GarlConfig, RunConfig
from tsallis_run.estimators.log_weights import Q
from tsallis_run.metrics import coefficient_diagnostics, distrusted_share, ratio_diagnostics, weight_diagnostics
from tsallis_run.types import Coefficients


def diagnostics(
    batch: RolloutNumbers, coefficients: Coefficients, plan: StepPlan, config: RunConfig
) -> dict[str, float]:
    """Of the global batch, the same on every rank.

    An estimator without q is looked at as the member q = 0 of the family: it maximises expected exact match as well.
    """
    q = 0.0 if plan.q is None else plan.q
    row = weight_diagnostics(batch.log_p_answer, q) | coefficient_diagnostics(coefficients) | q_diagnostics(plan.q)
    if isinstance(config.estimator, GarlConfig) and config.estimator.jackknife:
        row["jackknife_distrusted"] = distrusted_share(batch.log_p_answer)
    if batch.log_ratio is not None and batch.whole_log_ratio is not None:
        row |= ratio_diagnostics(batch.log_ratio, batch.whole_log_ratio)
    return row | rollout_diagnostics(batch)


def q_diagnostics(q: Q | None) -> dict[str, float]:
    """q of the step; of a q per example the mean, and q_min and q_max."""
    if q is None:
        return {}
    if not isinstance(q, Tensor):
        return {"q": float(q)}
    return {"q": float(q.mean()), "q_min": float(q.min()), "q_max": float(q.max())}


def rollout_diagnostics(batch: RolloutNumbers) -> dict[str, float]:
    """What the rollouts look like: lengths, how they ended, and how far engine and trainer are apart.

    - rationale_tokens: mean length of z
    - truncated_fraction, marker_fraction, end_of_turn_fraction: how the rationales ended
    - engine_trainer_difference_mean, _max: |log-prob of the engine - of the trainer| per rationale token, in nats,
      over the rationales that the trainer scored
    - reward, unended_fraction: mean reward, and answers that were cut off, where answers were sampled
    """
    marker, turn = float(batch.ended_by_marker.mean()), float(batch.ended_by_turn.mean())
    row = {
        "rationale_tokens": float(batch.rationale_tokens.mean()),
        "truncated_fraction": 1.0 - marker - turn,
        "marker_fraction": marker,
        "end_of_turn_fraction": turn,
        "engine_trainer_difference_mean": float(batch.difference_sum.sum() / batch.compared_tokens.sum().clamp(min=1)),
        "engine_trainer_difference_max": float(batch.difference_max.max()),
    }
    if batch.reward is not None and batch.unended is not None:
        row |= {"reward": float(batch.reward.mean()), "unended_fraction": float(batch.unended.mean())}
    return row
