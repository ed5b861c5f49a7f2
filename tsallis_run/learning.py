"""Between rollouts and optimizer step: score, estimate, backward, with as few passes as the estimator allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from tsallis_run import ranks
from tsallis_run.batch import (
    RolloutNumbers,
    StepPlan,
    estimate,
    estimate_own,
    gather,
    mean_tokens,
    numbers_of,
    rewards_of,
)
from tsallis_run.config import RunConfig
from tsallis_run.packing import MicroBatch, micro_batches
from tsallis_run.policy.zero import Weigh, ZeroPolicy
from tsallis_run.scoring import (
    Scores,
    answer_shares,
    collect_scores,
    gold_and_sampled_answers,
    gold_answers,
    token_coefficients,
)
from tsallis_run.tracking.clock import Clock
from tsallis_run.tree import Answers, Tree, trees
from tsallis_run.types import Coefficients, Group


@dataclass(frozen=True)
class Learned:
    """What a step knows once its gradient is accumulated."""

    scores: Scores
    """Of this rank's rollouts."""
    own: Coefficients
    """Of this rank's rollouts."""
    batch: RolloutNumbers
    """Of the global batch."""
    coefficients: Coefficients
    """Of the global batch."""
    loss: float | None
    """None, and no gradient, where no coefficient of the global batch is non-zero."""
    work: dict[str, float]
    """See `work_of`."""


def learn(policy: ZeroPolicy, groups: Sequence[Group], plan: StepPlan, config: RunConfig, clock: Clock) -> Learned:
    """Scores this rank's groups, estimates, and accumulates the gradient of the global batch; collective.

    Groups that will be trained whole are passed forward once, for their scores and their gradient. The others are
    scored without a gradient; then those of their rollouts that have a coefficient are passed forward and backward.
    """
    kept = keeps_forward(groups, plan, config)
    tokens = mean_tokens(groups)
    with clock.phase("score"):
        first = scoring_batches(groups, plan, config, ~kept)
        scores = collect_scores(first, policy.log_probs(first), groups)
    known = _known(groups, scores, plan, config, tokens)
    batches = training_batches(groups, known, kept, plan, config)
    weigh = _as_known(groups, scores, known, plan)
    if kept.any():
        weigh = _as_scored(groups, scores, kept, plan, config, tokens)
    passes = policy.backward(batches, weigh, num_prompts=config.prompts_per_step, phase=clock.phase)
    scores = scores.replaced(kept, by=collect_scores(batches, passes.log_probs, groups))
    batch = gather(numbers_of(groups, scores, config))
    coefficients = estimate(batch, plan, config, tokens)
    return Learned(scores, _share(coefficients), batch, coefficients, passes.loss, work_of(first, batches))


def keeps_forward(groups: Sequence[Group], plan: StepPlan, config: RunConfig) -> Bool[Tensor, " prompts"]:
    """The groups whose scoring forward pass is kept for the backward pass.

    A group must fit into one micro-batch, its coefficients must depend on its own rollouts alone (PAFT draws from one
    stream for the batch, and trains few), and some of them must be non-zero for all that is known before scoring.
    """
    if plan.own_estimator is None:
        return torch.zeros(len(groups), dtype=torch.bool)
    whole = trees(groups, _learned_from(plan), max_tokens=torch.iinfo(torch.long).max)
    fits = torch.tensor([tree.num_tokens <= config.optimizer.micro_batch_tokens for tree in whole])
    if not plan.by_reward:
        return fits
    by_reward = plan.own_estimator(rewards_of(groups), torch.Generator(), None)
    return fits & (by_reward.answer != 0).any(-1)


def score(policy: ZeroPolicy, groups: Sequence[Group], plan: StepPlan, config: RunConfig) -> Scores:
    """The log-probs of this rank's gold answers, without a gradient; see `scoring_batches`. Collective."""
    batches = scoring_batches(groups, plan, config, torch.ones(len(groups), dtype=torch.bool))
    return collect_scores(batches, policy.log_probs(batches), groups)


def scoring_batches(
    groups: Sequence[Group], plan: StepPlan, config: RunConfig, rows: Bool[Tensor, " prompts"]
) -> list[MicroBatch]:
    """Micro-batches of the marked groups, with logits where they are needed.

    Those are the gold answers, the first rationale of each group, which is held against the engine's log-probs, and
    all that was sampled where an importance ratio is due.
    """
    corrected = config.rollout.importance_correction != "none"
    scored = torch.zeros(len(groups), len(groups[0].rollouts), dtype=torch.bool)
    scored[:, slice(None) if corrected else 0] = True
    answers = gold_and_sampled_answers if plan.by_reward and corrected else gold_answers
    return _cut(groups, answers, config, keep=rows[:, None].expand_as(scored), score_rationale=scored)


def training_batches(
    groups: Sequence[Group], known: Coefficients, kept: Bool[Tensor, " prompts"], plan: StepPlan, config: RunConfig
) -> list[MicroBatch]:
    """Micro-batches of the `kept` groups whole, and of the other rollouts with a non-zero coefficient.

    A rollout whose coefficients are zero gets no backward pass; one that PAFT drew twice is trained once.
    """
    keep = kept[:, None] | (known.rationale != 0) | (known.answer != 0)
    return _cut(groups, _learned_from(plan), config, keep=keep)


def work_of(scored: Sequence[MicroBatch], trained: Sequence[MicroBatch]) -> dict[str, float]:
    """What the trainer computed, over all ranks; collective.

    - scored_tokens: passed forward without a gradient; trained_tokens: forward and backward; a prompt counts once
    - padding_fraction: share of padding in the rows of attention; nothing else is padded
    """
    batches = [*scored, *trained]
    num_tokens, num_queries = (
        ranks.total(float(sum(counts)))
        for counts in ([batch.num_tokens for batch in batches], [batch.num_queries for batch in batches])
    )
    num_trained = ranks.total(float(sum(batch.num_tokens for batch in trained)))
    return {
        "scored_tokens": num_tokens - num_trained,
        "trained_tokens": num_trained,
        "padding_fraction": 1 - num_tokens / max(num_queries, 1.0),
    }


def _known(groups: Sequence[Group], scores: Scores, plan: StepPlan, config: RunConfig, tokens: float) -> Coefficients:
    """This rank's coefficients by what is scored so far; those of groups still to be scored mean nothing yet."""
    numbers = numbers_of(groups, scores, config)
    if plan.own_estimator is not None:
        return estimate_own(numbers, plan, config, tokens)
    return _share(estimate(gather(numbers), plan, config, tokens))


def _as_known(groups: Sequence[Group], scores: Scores, known: Coefficients, plan: StepPlan) -> Weigh:
    shares = answer_shares(groups, scores, by_reward=plan.by_reward)
    return lambda batch, log_probs: token_coefficients(batch, known, shares)


def _as_scored(
    groups: Sequence[Group],
    scores: Scores,
    kept: Bool[Tensor, " prompts"],
    plan: StepPlan,
    config: RunConfig,
    tokens: float,
) -> Weigh:
    """Weighs the kept groups of a micro-batch by its own log-probs: it holds them whole."""

    def weigh(batch: MicroBatch, log_probs: Tensor) -> Tensor:
        both = scores.replaced(kept, by=collect_scores([batch], [log_probs], groups))
        return _as_known(groups, both, _known(groups, both, plan, config, tokens), plan)(batch, log_probs)

    return weigh


def _cut(
    groups: Sequence[Group],
    answers: Answers,
    config: RunConfig,
    *,
    keep: Bool[Tensor, "prompts rollouts"],
    score_rationale: Bool[Tensor, "prompts rollouts"] | None = None,
) -> list[MicroBatch]:
    max_tokens = config.optimizer.micro_batch_tokens
    cut: list[Tree] = trees(groups, answers, max_tokens=max_tokens, keep=keep, score_rationale=score_rationale)
    return micro_batches(cut, max_tokens=max_tokens)


def _learned_from(plan: StepPlan) -> Answers:
    """The golds are scored in every step, for the record; the model's own answer beside them where it is trained."""
    return gold_and_sampled_answers if plan.by_reward else gold_answers


def _share(coefficients: Coefficients) -> Coefficients:
    return Coefficients(ranks.share(coefficients.rationale), ranks.share(coefficients.answer))
