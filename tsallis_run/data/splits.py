"""Cutting rows into train, validation and test, and leaving out what must not be trained on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tsallis_run.config import RowsConfig
from tsallis_run.data.hashing import hashed, point
from tsallis_run.data.rows import Row
from tsallis_run.data.source import OfficialFile, Shares, read_rows, setting
from tsallis_run.grading import normal_form
from tsallis_run.types import Example, Splits, UserError

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Draft:
    """A row as its dataset reads it, before it is decided whether it stays."""

    id: str
    context: str
    question: str
    answers: tuple[str, ...]
    """The main gold answer first, then its aliases; as written, any of them may be blank."""
    num_chars: int
    """Length of the linearised input, for `max_context_chars`."""
    unusable: str | None = None
    """Why its dataset does not count the row among its questions; None where it does."""


@dataclass(frozen=True)
class _Kept:
    """An example that stays."""

    example: Example
    split: SplitName
    where: str


def build(config: RowsConfig, files: Sequence[OfficialFile], read: Callable[[Row], Draft]) -> Splits:
    """Reads every row, leaves out what the configuration says, and cuts the rest.

    Raises:
        UserError: for a row that breaks the schema, an id that occurs twice, or a split without examples.
    """
    kept: list[_Kept] = []
    dropped: Counter[str] = Counter()
    for row, shares in read_rows(config, files):
        draft = read(row)
        split = split_of(draft.id, shares)
        reason = _reason_to_leave_out(draft, row, config)
        if reason:
            dropped[f"{split}: {reason}"] += 1
        else:
            kept.append(_Kept(_example(draft), split, row.where))
    _check_ids(kept, config)
    splits = Splits(
        train=_first(kept, "train", config.num_train),
        validation=_first(kept, "validation", config.num_validation),
        test=_first(kept, "test", config.num_test),
        dropped=dict(dropped),
    )
    _check_sizes(splits, config)
    return splits


def split_of(id: str, shares: Shares) -> SplitName:
    """The split of a row: a fixed point in [0, 1) for its id, held against the shares.

    So a row never moves, whatever other rows there are.
    """
    place = point("split", id)
    if place < shares.validation:
        return "validation"
    return "test" if place < shares.validation + shares.test else "train"


def ids_hash(examples: Iterable[Example]) -> str:
    """16 hexadecimal digits that stand for a set of ids, whatever their order."""
    lines = "\n".join(sorted(example.id for example in examples))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def _reason_to_leave_out(draft: Draft, row: Row, config: RowsConfig) -> str | None:
    cap = config.max_context_chars
    if draft.unusable:
        return draft.unusable
    if not draft.question.strip():
        return "empty question"
    if not normal_form(draft.answers[0]):
        if config.empty_gold == "error":
            raise UserError(
                f"dataset.empty_gold: must be drop where gold answers are missing, got error and {row.where} "
                f"(id {draft.id!r}) has none; set dataset.empty_gold=drop or mend the row"
            )
        return "empty gold answer"
    return f"longer than {cap} characters" if cap is not None and draft.num_chars > cap else None


def _example(draft: Draft) -> Example:
    answer, *aliases = dict.fromkeys(answer.strip() for answer in draft.answers if normal_form(answer))
    return Example(draft.id, draft.context, draft.question, answer, tuple(aliases))


def _first(kept: Sequence[_Kept], split: SplitName, num: int | None) -> tuple[Example, ...]:
    """The first `num` examples of a split in the order of a hash of the id; all where it is None."""
    examples = [item.example for item in kept if item.split == split]
    # Another purpose than the cut's: else the first n of a split would be its edge.
    return tuple(sorted(examples, key=lambda example: hashed("order", example.id))[:num])


def _check_ids(kept: Sequence[_Kept], config: RowsConfig) -> None:
    seen: dict[str, str] = {}
    for item in kept:
        if item.example.id in seen:
            raise UserError(
                f"{setting(config)}: ids must be unique, got {item.example.id!r} in {seen[item.example.id]} "
                f"and in {item.where}; take one of them out"
            )
        seen[item.example.id] = item.where


def _check_sizes(splits: Splits, config: RowsConfig) -> None:
    sizes = {"train": len(splits.train), "validation": len(splits.validation), "test": len(splits.test)}
    if not all(sizes.values()):
        counts = ", ".join(f"{name} {size}" for name, size in sizes.items())
        lost = ", ".join(f"{reason} {num}" for reason, num in splits.dropped.items()) or "none"
        raise UserError(
            f"{setting(config)}: every split must keep at least one example, got {counts} (left out: {lost}); "
            "give more rows or loosen dataset.max_context_chars"
        )
