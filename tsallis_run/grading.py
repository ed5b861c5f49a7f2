"""Is an answer right? From answer text to its normal form to a match."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Literal

from tsallis_run.types import Answer

Match = Literal["exact", "substring", "word_bounded"]

_NO_NUMBER_BEFORE = r"(?<!\.)(?<!\d,)(?<!(?<!\w)[-\u2212])"
"""Neither a decimal point, nor a thousands comma, nor a sign; the hyphen of 2019-2020 is none."""
_NO_NUMBER_AFTER = r"(?![.,]\d)"
"""Neither decimals nor thousands."""


def normal_form(text: str) -> str:
    """Unicode NFKC, case folded, white space collapsed, ends and one final full stop stripped.

    Digits, signs, %, decimal points and articles stay.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).removesuffix(".").rstrip()


def exact_match(answer: str, gold: str | Sequence[str]) -> bool:
    """Equal after stripping outer white space and nothing else. The reward of GRPO.

    Args:
        gold: the gold answer, or several of which any counts.

    Raises:
        ValueError: for an empty gold answer.
    """
    return answer.strip() in _golds(gold, str.strip)


def substring_match(answer: str, gold: str | Sequence[str]) -> bool:
    """A gold answer occurs in the answer, both in normal form: the paper's relaxed match.

    It lets 5 match 15 and "no" match "know"; see `word_bounded_match`. 14% does not match 0.14.

    Args:
        gold: the gold answer, or several of which any counts.

    Raises:
        ValueError: for an empty gold answer, which every answer would contain.
    """
    normal = normal_form(answer)
    return any(gold in normal for gold in _golds(gold, normal_form))


def word_bounded_match(answer: str, gold: str | Sequence[str]) -> bool:
    """A gold answer occurs in the answer as whole words or a whole number, both in normal form.

    5 matches neither 15 nor 5.5, 1,5 or -5; "no" does not match "know".

    Args:
        gold: the gold answer, or several of which any counts.

    Raises:
        ValueError: for an empty gold answer.
    """
    normal = normal_form(answer)
    return any(re.search(_bounded(gold), normal) for gold in _golds(gold, normal_form))


def is_right(answer: str, golds: Sequence[str], match: Match) -> bool:
    """Grades an answer against every gold answer with the match that is named."""
    return _MATCHES[match](answer, golds)


def deserves_reward(answer: Answer, golds: Sequence[str]) -> bool:
    """Whether training rewards a sampled answer: it matches a gold answer exactly, and ended with the end token."""
    return answer.ended and exact_match(answer.text, golds)


_MATCHES: dict[Match, Callable[[str, str | Sequence[str]], bool]] = {
    "exact": exact_match,
    "substring": substring_match,
    "word_bounded": word_bounded_match,
}


def _golds(gold: str | Sequence[str], form: Callable[[str], str]) -> list[str]:
    golds = [form(text) for text in ([gold] if isinstance(gold, str) else gold)]
    if not golds or "" in golds:
        raise ValueError(f"gold: must hold at least one answer and no empty one, got {gold!r}")
    return golds


def _bounded(gold: str) -> str:
    """The gold answer with no word character on either side, and no more of a number where it is one."""
    before = _NO_NUMBER_BEFORE if gold[0].isdecimal() else ""
    after = _NO_NUMBER_AFTER if gold[-1].isdecimal() else ""
    return rf"(?<!\w){before}{re.escape(gold)}{after}(?!\w)"
