"""How far a run is, and the words for it. Pure: no clock, no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from tsallis_run.tracking.records import MetricsRow
from tsallis_run.tracking.scores import majority_name, score_names, score_words

SMALL_PROBABILITY = 0.001
"""Below it three decimals would read 0.000: a cold start's 1e-15 is shown with its exponent."""


@dataclass(frozen=True)
class Progress:
    """What is known of a run between two rows."""

    total_steps: int
    phase: str = ""
    """sync, generate, score, backward, step, save or evaluate; "" between phases."""
    train: MetricsRow | None = None
    """The newest train row."""
    validations: tuple[tuple[int, float], ...] = ()
    """(step, maj@n) of every validation so far."""
    majority_name: str = "maj"
    """maj@16, say."""
    pace_start: tuple[int, float] | None = None
    """(step, clock in seconds) of the first train row: a resumed run does not begin at 0."""

    @property
    def step(self) -> int:
        """Steps behind us."""
        return 0 if self.train is None else int(self.train["step"])

    def in_phase(self, name: str) -> Progress:
        """The run entered a phase."""
        return replace(self, phase=name)

    def after_train_row(self, row: MetricsRow, now_seconds: float) -> Progress:
        """A step was taken."""
        start = self.pace_start or (int(row["step"]), now_seconds)
        return replace(self, train=row, pace_start=start)

    def recalling(self, rows: Iterable[MetricsRow]) -> Progress:
        """The run goes on after these rows; its pace is that of this start alone."""
        progress = self
        for row in rows:
            progress = replace(progress, train=row) if row["split"] == "train" else progress.after_evaluation(row)
        return progress

    def after_evaluation(self, row: MetricsRow) -> Progress:
        """The policy was evaluated; only validation counts for first, last and best."""
        name = majority_name(row)
        if row["split"] != "validation" or name is None:
            return self
        validation = (int(row["step"]), float(row[name]))
        return replace(self, validations=(*self.validations, validation), majority_name=name)

    @property
    def best_validation(self) -> tuple[int, float]:
        """The first validation with the greatest maj@n."""
        return max(self.validations, key=lambda validation: validation[1])

    def seconds_left(self, now_seconds: float) -> float | None:
        """Steps left times seconds per step since the first train row; None before the second."""
        if self.pace_start is None or self.step <= self.pace_start[0]:
            return None
        first_step, first_seconds = self.pace_start
        return (self.total_steps - self.step) * (now_seconds - first_seconds) / (self.step - first_step)


def step_words(progress: Progress) -> str:
    """`step 120/300`."""
    return f"step {progress.step}/{progress.total_steps}"


def train_words(progress: Progress) -> str:
    """`log P -33.6  P 2.6e-15  loss 0.031  412 tok/s`: of the newest train row, what it carries."""
    numbers = {name: value for name, value in (progress.train or {}).items() if not isinstance(value, str)}
    return "  ".join(TRAIN_WORDS[name](numbers[name]) for name in TRAIN_WORDS if name in numbers)


def majority_words(progress: Progress) -> str:
    """`maj@16 0.000 first, 0.312 last, 0.344 best (step 50)`; "" before the first validation."""
    if not progress.validations:
        return ""
    (_, first), (_, last) = progress.validations[0], progress.validations[-1]
    best_step, best = progress.best_validation
    return f"{progress.majority_name} {first:.3f} first, {last:.3f} last, {best:.3f} best (step {best_step})"


def comparison_words(progress: Progress) -> str:
    """`first 0.000, best 0.344 (step 50)`: what the newest validation is seen against; "" while it is the only one."""
    if len(progress.validations) < 2:
        return ""
    (_, first), (best_step, best) = progress.validations[0], progress.best_validation
    return f"first {first:.3f}, best {best:.3f} (step {best_step})"


def evaluation_words(row: MetricsRow) -> str:
    """`step 50 validation  maj@16 0.312 [0.250, 0.375]  pass@1 0.280  pass@16 0.610  64 examples`."""
    majority = majority_name(row)
    first = [] if majority is None else [f"{majority} {score_words(row, majority)}"]
    others = [f"{name} {float(row[name]):.3f}" for name in score_names(row) if name != majority]
    return "  ".join([f"step {row['step']} {row['split']}", *first, *others, f"{row['num_examples']} examples"])


def time_left_words(progress: Progress, now_seconds: float) -> str:
    """`left 1:12`; "" while the pace is unknown."""
    seconds = progress.seconds_left(now_seconds)
    return "" if seconds is None else f"left {duration(seconds)}"


def probability(value: float) -> str:
    """`0.450`, and `2.6e-15` where decimals would hide it."""
    return f"{value:.1e}" if 0 < value < SMALL_PROBABILITY else f"{value:.3f}"


def duration(seconds: float) -> str:
    """`0:42`, `12:07` or `1:02:07`."""
    minutes, whole_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole_seconds:02d}" if hours else f"{minutes}:{whole_seconds:02d}"


TRAIN_WORDS: dict[str, Callable[[float], str]] = {
    "log_p_hat": lambda value: f"log P {value:.1f}",
    "p_hat": lambda value: f"P {probability(value)}",
    "loss": lambda value: f"loss {value:.3g}",
    "tokens_per_second": lambda value: f"{value:,.0f} tok/s",
}
"""What is shown of a train row, in this order."""
