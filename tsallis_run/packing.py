"""Trees one after another in one sequence, without padding, and which of their tokens attend to which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tsallis_run.tree import IN_RATIONALE, Span, Tree

NO_TOKEN = -1
"""Index of a key that pads its row."""
LONG_TOKENS = 512
"""Branches are put together up to this length, to share one copy of the trunk's keys; longer ones attend alone."""


@dataclass(frozen=True)
class Stretches:
    """Rows of tokens that attend together, padded to one length; each is a trunk, or branches over their trunk."""

    queries: Int[Tensor, "stretches queries"]
    """Indices of the tokens that ask; padding repeats the first of its row."""
    keys: Int[Tensor, "stretches keys"]
    """Indices of the tokens that they may see, in the order of the sequence; `NO_TOKEN` pads."""


@dataclass(frozen=True)
class MicroBatch:
    """Trees one after another in one sequence. The scored tokens are listed apart."""

    ids: Int[Tensor, " tokens"]
    positions: Int[Tensor, " tokens"]
    """From the root of its tree along the path to the token."""
    span: Int[Tensor, " tokens"]
    """Which span of the micro-batch a token belongs to."""
    ancestors: Bool[Tensor, "spans spans"]
    """ancestors[s, a]: span s is a, or grows from it."""
    stretches: tuple[Stretches, ...]
    """Every token asks in one of them."""
    place: Int[Tensor, " tokens"]
    """Where each token asks, among the queries of all stretches in a row."""
    predictor: Int[Tensor, " scored"]
    """Index of the token whose hidden state predicts the scored one."""
    target: Int[Tensor, " scored"]
    prompt: Int[Tensor, " scored"]
    rollout: Int[Tensor, " scored"]
    alias: Int[Tensor, " scored"]
    offset: Int[Tensor, " scored"]
    """Place among the scored tokens of its span."""

    @property
    def num_tokens(self) -> int:
        """Tokens that the model computes."""
        return len(self.ids)

    @property
    def num_scored(self) -> int:
        """Tokens whose log-probability is computed."""
        return len(self.target)

    @property
    def num_queries(self) -> int:
        """Tokens and padding in the rows of attention, the only place that has padding."""
        return sum(stretches.queries.numel() for stretches in self.stretches)

    def to(self, device: torch.device) -> MicroBatch:
        """The same on another device."""
        moved: MicroBatch = _moved(self, device)
        return moved


def micro_batches(trees: Sequence[Tree], *, max_tokens: int) -> list[MicroBatch]:
    """Packs trees into few micro-batches of at most `max_tokens` tokens: longest first, each where it still fits."""
    batches: list[list[Tree]] = []
    room: list[int] = []
    for tree in sorted(trees, key=lambda tree: -tree.num_tokens):
        index = next((i for i, left in enumerate(room) if tree.num_tokens <= left), len(batches))
        if index == len(batches):
            batches.append([])
            room.append(max_tokens)
        batches[index].append(tree)
        room[index] -= tree.num_tokens
    return [_packed(batch) for batch in batches]


def empty_micro_batch() -> MicroBatch:
    """One token, nothing scored: what a rank with no work left feeds to stay in step with the others."""
    return _packed([Tree(0, (Span((0,), -1, -1, IN_RATIONALE, 0),))])


def _packed(trees: Sequence[Tree]) -> MicroBatch:
    lengths = [len(span.ids) for tree in trees for span in tree.spans]
    num_tokens = [0, *accumulate(tree.num_tokens for tree in trees)]
    stretches = _stretches([row for tree, start in zip(trees, num_tokens, strict=False) for row in _rows(tree, start)])
    asked = torch.cat([rows.queries.flatten() for rows in stretches])
    first = torch.full((num_tokens[-1],), len(asked)).scatter_reduce_(0, asked, torch.arange(len(asked)), "amin")
    scored = [line for tree, start in zip(trees, num_tokens, strict=False) for line in _scored(tree, start)]
    columns = torch.tensor(scored, dtype=torch.long).reshape(-1, 6).T.contiguous()
    return MicroBatch(
        torch.tensor([token for tree in trees for span in tree.spans for token in span.ids]),
        torch.cat([_positions(tree) for tree in trees]),
        torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths)),
        torch.block_diag(*(_ancestors(tree) for tree in trees)).bool(),
        stretches,
        first,
        *columns,
    )


def _positions(tree: Tree) -> Int[Tensor, " tokens"]:
    depth = [0] * len(tree.spans)
    for index, span in enumerate(tree.spans):
        if span.parent >= 0:
            depth[index] = depth[span.parent] + len(tree.spans[span.parent].ids)
    return torch.cat([torch.arange(len(s.ids)) + d for s, d in zip(tree.spans, depth, strict=True)])


def _ancestors(tree: Tree) -> Float[Tensor, "spans spans"]:
    ancestors = torch.eye(len(tree.spans))
    for index, span in enumerate(tree.spans):
        if span.parent >= 0:
            ancestors[index] += ancestors[span.parent]
    return ancestors


@dataclass(frozen=True)
class _Row:
    """Tokens that ask, and the trunk that they see beside each other."""

    tokens: range
    trunk: range

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of one shape are padded little: lengths within a factor of two; a long one is padded to nothing."""
        if len(self.tokens) > LONG_TOKENS:
            return self.tokens.start, 0
        return len(self.tokens).bit_length(), len(self.trunk).bit_length()


def _rows(tree: Tree, start: int) -> Iterator[_Row]:
    """The trunk, and the branches, put together as long as one copy of the trunk's keys is worth it."""
    trunk = range(start, start + len(tree.spans[0].ids))
    yield _Row(trunk, range(0))
    limit = min(len(trunk) // 2, LONG_TOKENS)
    begin = end = trunk.stop
    for branch in _branch_lengths(tree):
        if begin < end and end + branch - begin > limit:
            yield _Row(range(begin, end), trunk)
            begin = end
        end += branch
    if begin < end:
        yield _Row(range(begin, end), trunk)


def _branch_lengths(tree: Tree) -> list[int]:
    lengths: list[int] = []
    for span in tree.spans[1:]:
        if span.parent == 0:
            lengths.append(0)
        lengths[-1] += len(span.ids)
    return lengths


def _stretches(rows: Sequence[_Row]) -> tuple[Stretches, ...]:
    alike: dict[tuple[int, int], list[_Row]] = defaultdict(list)
    for row in rows:
        alike[row.shape].append(row)
    return tuple(
        Stretches(
            _padded([(*row.tokens, *[row.tokens.start] * missing) for row, missing in _missing(group)]),
            _padded([(*row.trunk, *row.tokens) for row in group]),
        )
        for group in alike.values()
    )


def _missing(rows: Sequence[_Row]) -> Iterator[tuple[_Row, int]]:
    longest = max(len(row.tokens) for row in rows)
    return ((row, longest - len(row.tokens)) for row in rows)


def _padded(rows: Sequence[Sequence[int]]) -> Int[Tensor, "stretches indices"]:
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[NO_TOKEN] * (longest - len(row))] for row in rows], dtype=torch.long)


def _scored(tree: Tree, start: int) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Per scored token: index of its predictor, its id, prompt, rollout, alias, offset."""
    starts = [*accumulate((len(span.ids) for span in tree.spans), initial=start)]
    for index, span in enumerate(tree.spans):
        num_forced = len(span.ids) - span.num_scored
        for place in range(num_forced, len(span.ids)):
            before = starts[index] + place - 1 if place else _last_token(tree, starts, span.parent)
            yield before, span.ids[place], tree.prompt, span.rollout, span.alias, place - num_forced


def _last_token(tree: Tree, starts: Sequence[int], span: int) -> int:
    while not tree.spans[span].ids:  # a rationale may be empty
        span = tree.spans[span].parent
    return starts[span] + len(tree.spans[span].ids) - 1


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_moved(one, device) for one in value)
    return replace(value, **{field.name: _moved(getattr(value, field.name), device) for field in fields(value)})
