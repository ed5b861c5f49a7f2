"""The names of pass@k and maj@k among a row's numbers, and the words for one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

BOUNDS = ("_low", "_high")
"""A score's confidence interval stands beside it: maj@16, maj@16_low, maj@16_high."""

COLLAPSED_SHARE = 0.5
SMALLEST_PEAK = 0.05
"""See `collapsed`. The paper marks runs as collapsed and gives no rule; both numbers are ours."""


def score_names(row: Mapping[str, object]) -> list[str]:
    """The row's pass@k and maj@k, whatever k is, without their bounds."""
    return [name for name in row if name.startswith(("pass@", "maj@")) and not name.endswith(BOUNDS)]


def majority_name(row: Mapping[str, object]) -> str | None:
    """The row's maj@n; None where it has none."""
    return next((name for name in score_names(row) if name.startswith("maj@")), None)


def score_words(row: Mapping[str, float | int | str], name: str) -> str:
    """`0.383 [0.355, 0.412]`; the interval is left out where the row has none."""
    bounds = [float(row[name + bound]) for bound in BOUNDS if name + bound in row]
    interval = f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if len(bounds) == len(BOUNDS) else ""
    return f"{float(row[name]):.3f}{interval}"


def collapsed(majorities: Sequence[float]) -> bool:
    """Whether a run lost what it had reached: its newest maj@n is below half of its best.

    A best of less than 5 % is a few lucky examples, and nothing to lose.

    Args:
        majorities: validation maj@n as fractions, oldest first.
    """
    best = max(majorities, default=0.0)
    return best >= SMALLEST_PEAK and majorities[-1] < COLLAPSED_SHARE * best
