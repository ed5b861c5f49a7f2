"""rollouts/*.jsonl -> groups to look at, in the terminal and in the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from tsallis_run.grading import normal_form
from tsallis_run.report.runs import Row
from tsallis_run.tracking.records import RunFolder
from tsallis_run.tracking.rollout_rows import RolloutFile, RolloutRow, read_rollouts, rollout_files
from tsallis_run.types import UserError

PAFT = ("paft", "em")
"""Names of estimators that resample, for runs whose config.yaml does not tell the kind."""


@dataclass(frozen=True)
class Vote:
    """Answers of one normal form."""

    answer: str
    """As it was first written."""
    num_votes: int
    is_elected: bool
    is_right: bool


@dataclass(frozen=True)
class Sample:
    """One rollout of a group."""

    number: int
    """From 1, in the order of sampling."""
    row: RolloutRow
    num_drawn: int | None
    """How often PAFT drew it; None for an estimator that draws none, and in an evaluation."""

    @property
    def is_trained(self) -> bool | None:
        """Whether it has a coefficient that is not zero; None in an evaluation."""
        row = self.row
        return None if row.rationale_coefficient is None else bool(row.rationale_coefficient or row.answer_coefficient)


@dataclass(frozen=True)
class SampledGroup:
    """The rollouts of one prompt."""

    example_id: str
    prompt: str
    golds: tuple[str, ...]
    samples: tuple[Sample, ...]
    votes: tuple[Vote, ...]
    """Of an evaluation, the most votes first; empty in training."""

    @property
    def log_p_hat(self) -> float | None:
        """log of the mean of w over the group, in nats; None where no weight is known."""
        logs = [row.log_p_answer for row in self._rows if row.log_p_answer is not None]
        if not logs:
            return None
        greatest = max(logs)
        return greatest + math.log(sum(math.exp(log - greatest) for log in logs) / len(self.samples))

    @property
    def num_right(self) -> int | None:
        """Answers that are right; None where no answers were sampled."""
        grades = [row.right for row in self._rows if row.right is not None]
        return sum(grades) if grades else None

    @property
    def vote_is_right(self) -> bool | None:
        """Whether the majority is right; None in training."""
        return next((vote.is_right for vote in self.votes if vote.is_elected), None)

    @property
    def _rows(self) -> Iterator[RolloutRow]:
        return (sample.row for sample in self.samples)


def read_groups(row: Row, file: RolloutFile) -> list[SampledGroup]:
    """The groups of one file of a run."""
    groups = groupby(read_rollouts(file.path), lambda rollout: rollout.example_id)
    return [_group(row, tuple(rollouts)) for _, rollouts in groups]


def files_of(row: Row) -> list[RolloutFile]:
    """The rollout files of a run."""
    return rollout_files(RunFolder(row.folder))


def _group(row: Row, rollouts: Sequence[RolloutRow]) -> SampledGroup:
    first = rollouts[0]
    drawn = _num_drawn(row, rollouts)
    return SampledGroup(
        example_id=first.example_id,
        prompt=first.prompt,
        golds=(first.gold, *first.aliases),
        samples=tuple(Sample(number, *pair) for number, pair in enumerate(zip(rollouts, drawn, strict=True), 1)),
        votes=_votes(rollouts) if first.elected is not None else (),
    )


def _num_drawn(row: Row, rollouts: Sequence[RolloutRow]) -> list[int | None]:
    """n_m from PAFT's coefficients, which are proportional to it: n_m = K b_m / sum b (eq. 13)."""
    estimator = row.config.get("estimator", {})
    resamples = estimator.get("kind") == "paft" or row.results.estimator in PAFT
    coefficients = [rollout.answer_coefficient for rollout in rollouts if rollout.answer_coefficient is not None]
    if not resamples or len(coefficients) < len(rollouts) or rollouts[0].split != "train":
        return [None] * len(rollouts)
    num_resamples, total = estimator.get("num_resamples") or len(rollouts), sum(coefficients)
    return [round(num_resamples * coefficient / total) if total else 0 for coefficient in coefficients]


def _votes(rollouts: Iterable[RolloutRow]) -> tuple[Vote, ...]:
    ballots: dict[str, list[RolloutRow]] = {}
    for rollout in rollouts:
        ballots.setdefault(normal_form(rollout.answer or ""), []).append(rollout)
    votes = [
        Vote(same[0].answer or "", len(same), is_elected=bool(same[0].elected), is_right=bool(same[0].right))
        for same in ballots.values()
    ]
    return tuple(sorted(votes, key=lambda vote: (-vote.num_votes, not vote.is_elected)))


def rollout_words(row: Row, step: str) -> str:
    """The rollouts of one step of a run, for the terminal.

    Args:
        step: a training step, `last` (the last one saved), `validation` (the last) or `test`.

    Raises:
        UserError: where the run has not saved these.
    """
    file = _choose(row, step)
    groups = read_groups(row, file)
    head = f"{row.folder}: {file.title}, {len(groups)} examples"
    return printable("\n\n".join([head, *map(_group_words, groups)]))


def _choose(row: Row, step: str) -> RolloutFile:
    files = files_of(row)
    of_train = [file for file in files if file.split == "train"]
    match step:
        case "last":
            chosen = of_train
        case "validation" | "test":
            chosen = [file for file in files if file.split == step]
        case _:
            chosen = [file for file in of_train if str(file.step) == step.lstrip("0")]
    if not chosen:
        saved = ", ".join(file.title for file in files) or "none; tracker.rollouts_every_steps=N saves them"
        raise UserError(
            f"--rollouts: must be last, validation, test or a step whose rollouts {row.folder} has, got {step}; "
            f"it has {saved}"
        )
    return chosen[-1]


def _group_words(group: SampledGroup) -> str:
    log_p_hat = [] if group.log_p_hat is None else [f"log P {group.log_p_hat:.1f}"]
    right = [] if group.num_right is None else [f"{group.num_right} of {len(group.samples)} answers right"]
    head = "  ".join([f"example {group.example_id}", f"gold {' | '.join(group.golds)}", *log_p_hat, *right])
    lines = [head, _indented(group.prompt, "  | ")]
    for sample in group.samples:
        row = sample.row
        lines += [
            f"  {sample.number:>2}  {'  '.join(sample_words(sample))}",
            _indented(row.rationale + row.bridge, "      "),
        ]
        if row.answer is not None:
            lines.append(_indented(f"answer: {row.answer}", "      "))
    lines += [f"  votes: {vote_words(vote)}" for vote in group.votes]
    return "\n".join(lines)


def sample_words(sample: Sample) -> list[str]:
    """What was made of a rollout: its log w, coefficients, draws, end and grade, those that are known."""
    row = sample.row
    words = []
    if row.log_p_answer is not None:
        words.append(f"log w {row.log_p_answer:.2f}")
    elif sample.is_trained is not None:
        words.append("log w -inf or not scored")
    if row.rationale_coefficient is not None and row.answer_coefficient is not None:
        words += [f"a {_coefficient(row.rationale_coefficient)}", f"b {_coefficient(row.answer_coefficient)}"]
    if sample.num_drawn is not None:
        words.append(f"drawn {sample.num_drawn} x")
    elif sample.is_trained is not None:
        words.append("trained" if sample.is_trained else "no gradient")
    words.append({"marker": "ended itself", "end_of_turn": "ended the turn", "budget": "cut by the budget"}[row.end])
    if row.right is not None:
        words.append("right" if row.right else "wrong" if row.answer_ended is not False else "wrong, answer cut off")
    return words


def _coefficient(value: float) -> str:
    return f"{value:.2e}" if value else "0"


def vote_words(vote: Vote) -> str:
    """`12 x 47.3, elected, right`."""
    elected = ", elected" if vote.is_elected else ""
    return f"{vote.num_votes} x {vote.answer.strip() or '(empty)'}{elected}, {'right' if vote.is_right else 'wrong'}"


def printable(text: str) -> str:
    """The text with a blank for every control character: what a model writes must steer no terminal and no page."""
    return "".join(char if char.isprintable() or char in "\n\t" else " " for char in text)


def _indented(text: str, margin: str) -> str:
    return "\n".join(margin + line for line in text.split("\n"))
