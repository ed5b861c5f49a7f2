"""[x; z; bridge; y*] as trees: the prompt is the trunk, every rationale a branch, every answer a twig of its rationale.

A token sees its own branch and what it grows from, never a sibling, so one forward pass over the tree gives exactly the
log-probs of the separate sequences, and the prompt is computed once for all M rollouts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor

from tsallis_run.types import Group, Rollout

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
    """How many of its last tokens are scored; forced tokens come first and are not."""


@dataclass(frozen=True)
class Tree:
    """Some rollouts of one group over their shared prompt."""

    prompt: int
    """Row of the group in the tensors [prompts, rollouts]."""
    spans: tuple[Span, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens of all spans."""
        return sum(len(span.ids) for span in self.spans)


Answers = Callable[[Group, Rollout], Sequence[tuple[int, ...]]]
"""The answers that are scored behind a rollout."""


def trees(
    groups: Sequence[Group],
    answers: Answers,
    *,
    max_tokens: int,
    keep: Bool[Tensor, "prompts rollouts"] | None = None,
    score_rationale: Bool[Tensor, "prompts rollouts"] | None = None,
) -> list[Tree]:
    """Returns every group as a tree, of the rollouts that `keep` marks (all by default).

    A group over `max_tokens` is cut into several trees, each with the prompt; a single rollout over it
    stays whole.

    Args:
        score_rationale: the rollouts whose rationale is scored beside the answers; all by default.
    """
    return [
        tree
        for row, group in enumerate(groups)
        for tree in _trees_of(
            row,
            group.prompt.ids,
            [
                _Branch(index, rollout, answers(group, rollout), score_rationale is None or score_rationale[row, index])
                for index, rollout in enumerate(group.rollouts)
                if keep is None or keep[row, index]
            ],
            max_tokens,
        )
    ]


@dataclass(frozen=True)
class _Branch:
    """A rollout with the answers behind it."""

    index: int
    rollout: Rollout
    answers: Sequence[tuple[int, ...]]
    score_rationale: bool | Tensor

    @property
    def num_tokens(self) -> int:
        return len(self.rollout.rationale) + sum(len(self.rollout.bridge) + len(ids) for ids in self.answers)

    def spans(self, parent: int) -> list[Span]:
        """The rationale, which will be span number `parent`, and its twigs."""
        z, bridge = self.rollout.rationale, self.rollout.bridge
        rationale = Span(z, 0, self.index, IN_RATIONALE, len(z) if self.score_rationale else 0)
        twigs = [Span((*bridge, *ids), parent, self.index, alias, len(ids)) for alias, ids in enumerate(self.answers)]
        return [rationale, *twigs]


def _trees_of(row: int, prompt: tuple[int, ...], branches: Sequence[_Branch], max_tokens: int) -> Iterator[Tree]:
    trunk = Span(prompt, -1, -1, IN_RATIONALE, 0)
    spans, num_tokens = [trunk], len(prompt)
    for branch in branches:
        if len(spans) > 1 and num_tokens + branch.num_tokens > max_tokens:
            yield Tree(row, tuple(spans))
            spans, num_tokens = [trunk], len(prompt)
        spans += branch.spans(parent=len(spans))
        num_tokens += branch.num_tokens
    if len(spans) > 1:
        yield Tree(row, tuple(spans))
