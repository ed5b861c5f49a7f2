"""[x; z; bridge; y*] as packed trees, and token log-probs back to log p(y*|x,z).

A row of a micro-batch is one group as a tree: the prompt is the trunk, every rationale a branch, every
answer a twig of its rationale. A token sees its own branch and what it grows from, never a sibling, so
one forward pass over the tree gives exactly the log-probs of the separate sequences, and the prompt is
computed once for all M rollouts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tsallis_run.types import Coefficients, Group, Rollout

IN_RATIONALE = -1
"""Alias index of a token that belongs to the rationale."""


@dataclass(frozen=True)
class Span:
    """Consecutive tokens of a tree; its first token is predicted by the last token of its parent."""

    ids: tuple[int, ...]
    parent: int
    """Index of the span it grows from; -1 for the trunk."""
    rollout: int
    alias: int
    """Which answer of the rollout, or `IN_RATIONALE`."""
    num_scored: int
    """How many of its last tokens were sampled or are an answer; forced tokens come first and are not scored."""


@dataclass(frozen=True)
class Tree:
    """Some rollouts of one group over their shared prompt."""

    prompt: int
    """Row of the group in the tensors [prompts, rollouts]."""
    spans: tuple[Span, ...]

    @property
    def num_tokens(self) -> int:
        """Length of its row."""
        return sum(len(span.ids) for span in self.spans)


@dataclass(frozen=True)
class MicroBatch:
    """Trees side by side, padded to the longest. The scored tokens of all rows are listed flat."""

    ids: Int[Tensor, "rows tokens"]
    positions: Int[Tensor, "rows tokens"]
    span: Int[Tensor, "rows tokens"]
    """Which span of its tree a token belongs to; padding belongs to one that grows from nothing."""
    ancestors: Bool[Tensor, "rows spans spans"]
    """ancestors[r, s, a]: span s is a, or grows from it."""
    predictor: Int[Tensor, " scored"]
    """Index into the flattened rows of the token whose hidden state predicts the scored one."""
    target: Int[Tensor, " scored"]
    prompt: Int[Tensor, " scored"]
    rollout: Int[Tensor, " scored"]
    alias: Int[Tensor, " scored"]
    offset: Int[Tensor, " scored"]
    """Place among the scored tokens of its span."""

    @property
    def num_scored(self) -> int:
        """Tokens whose log-probability is computed."""
        return len(self.target)


@dataclass(frozen=True)
class Scores:
    """What the trainer's forward pass says about every rollout of a batch."""

    log_p_alias: Float[Tensor, "prompts rollouts aliases"]
    """log p(alias, end | x, z) in nats; -inf where a prompt has fewer aliases."""
    rationale_log_probs: Float[Tensor, "prompts rollouts rationale_tokens"]
    """log p of each token of z, in nats; 0 behind its end."""
    answer_log_probs: Float[Tensor, "prompts rollouts answer_tokens"]
    """The same of each token of the sampled answer, where it was scored as well (see `gold_and_sampled_answers`)."""

    @property
    def log_p_answer(self) -> Float[Tensor, "prompts rollouts"]:
        """log p(y*|x,z), any alias: logsumexp over aliases."""
        return self.log_p_alias.logsumexp(-1)


Answers = Callable[[Group, Rollout], Sequence[tuple[int, ...]]]
"""The answers that are scored behind a rollout."""


def gold_answers(group: Group, rollout: Rollout) -> Sequence[tuple[int, ...]]:
    """y* and its aliases."""
    return group.prompt.gold_ids


def sampled_answer(group: Group, rollout: Rollout) -> Sequence[tuple[int, ...]]:
    """The model's own answer."""
    assert rollout.answer is not None, "this batch was sampled without answers"
    return (rollout.answer.ids,)


def gold_and_sampled_answers(group: Group, rollout: Rollout) -> Sequence[tuple[int, ...]]:
    """y* and its aliases, and behind them the model's own answer."""
    return (*gold_answers(group, rollout), *sampled_answer(group, rollout))


def trees(
    groups: Sequence[Group], answers: Answers, *, max_tokens: int, keep: Bool[Tensor, "prompts rollouts"] | None = None
) -> list[Tree]:
    """Returns every group as a tree, of the rollouts that `keep` marks (all by default).

    A group over `max_tokens` is cut into several trees, each with the prompt; a single rollout over it
    stays whole.
    """
    return [tree for row, group in enumerate(groups) for tree in _trees_of(row, group, answers, max_tokens, keep)]


def _trees_of(
    row: int, group: Group, answers: Answers, max_tokens: int, keep: Bool[Tensor, "prompts rollouts"] | None
) -> Iterator[Tree]:
    trunk = Span(group.prompt.ids, -1, -1, IN_RATIONALE, 0)
    spans, num_tokens = [trunk], len(trunk.ids)
    for index, rollout in enumerate(group.rollouts):
        if keep is not None and not keep[row, index]:
            continue
        length = len(rollout.rationale) + sum(len(rollout.bridge) + len(ids) for ids in answers(group, rollout))
        if len(spans) > 1 and num_tokens + length > max_tokens:
            yield Tree(row, tuple(spans))
            spans, num_tokens = [trunk], len(trunk.ids)
        spans += _branch(index, rollout, answers(group, rollout), parent=len(spans))
        num_tokens += length
    if len(spans) > 1:
        yield Tree(row, tuple(spans))


def _branch(index: int, rollout: Rollout, answers: Sequence[tuple[int, ...]], parent: int) -> list[Span]:
    rationale = Span(rollout.rationale, 0, index, IN_RATIONALE, len(rollout.rationale))
    twigs = [Span((*rollout.bridge, *ids), parent, index, alias, len(ids)) for alias, ids in enumerate(answers)]
    return [rationale, *twigs]


def micro_batches(trees: Sequence[Tree], *, max_tokens: int) -> list[MicroBatch]:
    """Packs trees, longest first, into micro-batches of at most `max_tokens` tokens, padding included."""
    batches: list[list[Tree]] = []
    for tree in sorted(trees, key=lambda tree: -tree.num_tokens):
        if batches and batches[-1][0].num_tokens * (len(batches[-1]) + 1) <= max_tokens:
            batches[-1].append(tree)
        else:
            batches.append([tree])
    return [_stack(batch) for batch in batches]


def empty_micro_batch() -> MicroBatch:
    """One token, nothing scored: what a rank with no work left feeds to stay in step with the others."""
    return _stack([Tree(0, (Span((0,), -1, -1, IN_RATIONALE, 0),))])


def _stack(trees: Sequence[Tree]) -> MicroBatch:
    width, padding = trees[0].num_tokens, max(len(tree.spans) for tree in trees)
    ids = torch.zeros(len(trees), width, dtype=torch.long)
    positions = torch.zeros(len(trees), width, dtype=torch.long)
    owner = torch.full((len(trees), width), padding)
    ancestors = torch.zeros(len(trees), padding + 1, padding + 1, dtype=torch.bool)
    scored: list[tuple[int, ...]] = []
    for row, tree in enumerate(trees):
        tokens, spans = slice(tree.num_tokens), slice(len(tree.spans))
        ids[row, tokens] = torch.tensor([token for span in tree.spans for token in span.ids])
        positions[row, tokens], owner[row, tokens], ancestors[row, spans, spans] = _geometry(tree)
        scored += [(row * width + before, *rest) for before, *rest in _scored(tree)]
    columns = torch.tensor(scored, dtype=torch.long).reshape(-1, 6).T.contiguous()
    return MicroBatch(ids, positions, owner, ancestors, *columns)


def _geometry(
    tree: Tree,
) -> tuple[Int[Tensor, " tokens"], Int[Tensor, " tokens"], Bool[Tensor, "spans spans"]]:
    """Positions along each path from the root, the span of each token, and which span grows from which."""
    depth = [0] * len(tree.spans)
    ancestors = torch.eye(len(tree.spans), dtype=torch.bool)
    for index, span in enumerate(tree.spans):
        if span.parent >= 0:
            depth[index] = depth[span.parent] + len(tree.spans[span.parent].ids)
            ancestors[index] |= ancestors[span.parent]
    positions = torch.cat([torch.arange(len(s.ids)) + d for s, d in zip(tree.spans, depth, strict=True)])
    lengths = torch.tensor([len(span.ids) for span in tree.spans])
    return positions, torch.arange(len(tree.spans)).repeat_interleave(lengths), ancestors


def _scored(tree: Tree) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Per scored token: index of its predictor in the row, its id, prompt, rollout, alias, offset."""
    starts = [0]
    for span in tree.spans:
        starts.append(starts[-1] + len(span.ids))
    for index, span in enumerate(tree.spans):
        num_forced = len(span.ids) - span.num_scored
        for place in range(num_forced, len(span.ids)):
            before = starts[index] + place - 1 if place else _last_token(tree, starts, span.parent)
            yield before, span.ids[place], tree.prompt, span.rollout, span.alias, place - num_forced


def _last_token(tree: Tree, starts: Sequence[int], span: int) -> int:
    while not tree.spans[span].ids:  # a rationale may be empty
        span = tree.spans[span].parent
    return starts[span] + len(tree.spans[span].ids) - 1


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
    for batch, values in zip(batches, log_probs, strict=True):
        values = values.detach().to("cpu", torch.float64)
        in_rationale, in_sampled = batch.alias == IN_RATIONALE, batch.alias >= num_golds[batch.prompt]
        for sampled, inside in ((rationales, in_rationale), (answers, in_sampled)):
            place = (batch.prompt[inside], batch.rollout[inside], batch.offset[inside])
            sampled.index_put_(place, values[inside])
        in_gold = ~in_rationale & ~in_sampled
        place = (batch.prompt[in_gold], batch.rollout[in_gold], batch.alias[in_gold])
        golds.index_put_(place, values[in_gold], accumulate=True)
    return Scores(golds, rationales, answers)


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


def token_coefficients(
    batch: MicroBatch, coefficients: Coefficients, alias_shares: Float[Tensor, "prompts rollouts aliases"]
) -> Float[Tensor, " scored"]:
    """The coefficient of every scored token: a_m in the rationale, b_m times the alias's share in an answer."""
    rationale = coefficients.rationale[batch.prompt, batch.rollout]
    answer = coefficients.answer[batch.prompt, batch.rollout]
    share = alias_shares[batch.prompt, batch.rollout, batch.alias.clamp(min=0)]
    return torch.where(batch.alias == IN_RATIONALE, rationale, answer * share)
