"""Token log-probs of packed trees back to log p(y*|x,z), and an estimator's coefficients out to tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tsallis_run.packing import MicroBatch
from tsallis_run.tree import IN_RATIONALE
from tsallis_run.types import Coefficients, Group, Rollout


@dataclass(frozen=True)
class Scores:
    """What the trainer's forward pass says about every rollout of a batch."""

    log_p_alias: Float[Tensor, "prompts rollouts aliases"]
    """log p(alias, end | x, z) in nats; -inf where a prompt has fewer aliases."""
    rationale_log_probs: Float[Tensor, "prompts rollouts rationale_tokens"]
    """log p of each token of z, in nats; 0 behind its end."""
    answer_log_probs: Float[Tensor, "prompts rollouts answer_tokens"]
    """The same of each token of the sampled answer, where it was scored as well (see `gold_and_sampled_answers`)."""
    rationale_is_scored: Bool[Tensor, "prompts rollouts"]
    """False where a rationale was only passed through, on the way to the answer."""

    @property
    def log_p_answer(self) -> Float[Tensor, "prompts rollouts"]:
        """log p(y*|x,z), any alias: logsumexp over aliases."""
        return self.log_p_alias.logsumexp(-1)

    def replaced(self, rows: Bool[Tensor, " prompts"], by: Scores) -> Scores:
        """These scores, with the marked rows taken from others."""
        columns = {field.name: getattr(self, field.name).clone() for field in fields(self)}
        for name, column in columns.items():
            column[rows] = getattr(by, name)[rows]
        return Scores(**columns)


def gold_answers(group: Group, rollout: Rollout) -> Sequence[tuple[int, ...]]:
    """y* and its aliases."""
    return group.prompt.gold_ids


def gold_and_sampled_answers(group: Group, rollout: Rollout) -> Sequence[tuple[int, ...]]:
    """y* and its aliases, and behind them the model's own answer."""
    assert rollout.answer is not None, "this batch was sampled without answers"
    return (*gold_answers(group, rollout), rollout.answer.ids)


def collect_scores(batches: Sequence[MicroBatch], log_probs: Sequence[Tensor], groups: Sequence[Group]) -> Scores:
    """Sums token log-probs into log p of each gold answer, in float64; keeps the tokens of what was sampled apart.

    Args:
        log_probs: one tensor per micro-batch, shaped [scored].
    """
    num_golds = torch.tensor([len(group.prompt.gold_ids) for group in groups])
    shape = (len(groups), len(groups[0].rollouts))
    golds = torch.zeros(*shape, int(num_golds.max()), dtype=torch.float64)
    golds.masked_fill_(torch.arange(golds.shape[-1]) >= num_golds[:, None, None], -torch.inf)
    rationales = torch.zeros(*shape, longest_rationale(groups), dtype=torch.float64)
    answers = torch.zeros(*shape, longest_answer(groups), dtype=torch.float64)
    is_scored = torch.zeros(shape, dtype=torch.bool)
    for batch, values in zip(batches, log_probs, strict=True):
        values = values.detach().to("cpu", torch.float64)
        in_rationale, in_sampled = batch.alias == IN_RATIONALE, batch.alias >= num_golds[batch.prompt]
        for sampled, inside in ((rationales, in_rationale), (answers, in_sampled)):
            place = (batch.prompt[inside], batch.rollout[inside], batch.offset[inside])
            sampled.index_put_(place, values[inside])
        is_scored[batch.prompt[in_rationale], batch.rollout[in_rationale]] = True
        in_gold = ~in_rationale & ~in_sampled
        place = (batch.prompt[in_gold], batch.rollout[in_gold], batch.alias[in_gold])
        golds.index_put_(place, values[in_gold], accumulate=True)
    return Scores(golds, rationales, answers, is_scored)


def engine_log_probs(groups: Sequence[Group]) -> Float[Tensor, "prompts rollouts rationale_tokens"]:
    """What the engine said of every rationale token when it sampled it, in nats; 0 behind the end."""
    width = longest_rationale(groups)
    rows = [[_padded(r.log_probs, width) for r in group.rollouts] for group in groups]
    return torch.tensor(rows, dtype=torch.float64)


def engine_answer_log_probs(groups: Sequence[Group]) -> Float[Tensor, "prompts rollouts answer_tokens"]:
    """The same of every token of the sampled answers."""
    width = longest_answer(groups)
    rows = [[_padded(r.answer.log_probs if r.answer else (), width) for r in group.rollouts] for group in groups]
    return torch.tensor(rows, dtype=torch.float64)


def longest_rationale(groups: Sequence[Group]) -> int:
    """Tokens of the longest sampled rationale; at least 1."""
    return max(1, *(len(rollout.rationale) for group in groups for rollout in group.rollouts))


def longest_answer(groups: Sequence[Group]) -> int:
    """Tokens of the longest sampled answer; at least 1."""
    return max(1, *(len(r.answer.ids) if r.answer else 0 for group in groups for r in group.rollouts))


def _padded(values: Sequence[float], width: int) -> list[float]:
    return [*values, *[0.0] * (width - len(values))]


def answer_shares(
    groups: Sequence[Group], scores: Scores, *, by_reward: bool
) -> Float[Tensor, "prompts rollouts answers"]:
    """How an answer coefficient falls to the answers behind a rollout, a constant to the autograd.

    Where the model's own answer is learned from, it takes all; else the aliases of y* share it by their probability,
    for grad log p(y*|x,z) is that mean of their gradients.
    """
    if not by_reward:
        return scores.log_p_alias.softmax(-1).nan_to_num(0.0)  # no alias has mass: its coefficient is 0 too
    num_golds = torch.tensor([len(group.prompt.gold_ids) for group in groups])
    places = torch.arange(int(num_golds.max()) + 1)
    own = (places == num_golds[:, None]).double()
    return own[:, None].expand(-1, len(groups[0].rollouts), -1)


def token_coefficients(
    batch: MicroBatch, coefficients: Coefficients, shares: Float[Tensor, "prompts rollouts answers"]
) -> Float[Tensor, " scored"]:
    """The coefficient of every scored token: a_m in the rationale, b_m times its share in an answer."""
    rationale = coefficients.rationale[batch.prompt, batch.rollout]
    answer = coefficients.answer[batch.prompt, batch.rollout]
    share = shares[batch.prompt, batch.rollout, batch.alias.clamp(min=0)]
    return torch.where(batch.alias == IN_RATIONALE, rationale, answer * share)
