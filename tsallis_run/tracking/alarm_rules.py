"""What can be off in a run, each with the words for it. Pure: rows in, words out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tsallis_run.config import AdamWConfig, RunConfig
from tsallis_run.tracking.records import MetricsRow
from tsallis_run.tracking.scores import collapsed, majority_name

WINDOW_STEPS = 20
"""A condition must hold in so many steps in a row: one odd batch is no news."""

GROWTH = 3.0
"""Of the difference between engine and trainer since the run's first steps ..."""
GROWTH_FLOOR = 0.1
"""... once it is this share of the tolerance: below, it is rounding."""
STALE_TOLERANCE_NATS = 0.2
"""Where rollouts may come from older weights, which differ by more than rounding."""
SMALL_P_HAT = 0.1
"""Above it a run has what it needs, however its rationales end or however small its gradient is."""
NEARLY_ALL = 0.99
LONE_ESS = 1.05
"""An effective sample size of 1 is one rollout; the mean over groups reaches it only nearly."""
MAX_DISTRUSTED = 0.5
MAX_SKIPPED = 1
"""Of WINDOW_STEPS; more than one is no accident."""


@dataclass(frozen=True)
class Limits:
    """What the run's settings say about its rows."""

    drift_tolerance_nats: float
    """Largest mean |engine - trainer| log-prob per token that is due to rounding."""
    adam_epsilon: float
    """0 for an optimizer that has none."""
    num_rollouts: int
    """M."""
    rewards_answers: bool
    """True where the estimator learns from sampled answers alone."""

    @classmethod
    def of(cls, config: RunConfig) -> Limits:
        """The limits of a run."""
        tolerance = config.probe_tolerance_nats
        return cls(
            max(tolerance, STALE_TOLERANCE_NATS) if config.rollout.max_staleness else tolerance,
            config.optimizer.epsilon if isinstance(config.optimizer, AdamWConfig) else 0.0,
            config.rollouts_per_prompt,
            config.samples_answers,
        )


@dataclass(frozen=True)
class History:
    """What the rules look at."""

    limits: Limits
    first: tuple[MetricsRow, ...] = ()
    """The first WINDOW_STEPS train rows."""
    newest: tuple[MetricsRow, ...] = ()
    """The newest WINDOW_STEPS train rows, oldest first."""
    majorities: tuple[float, ...] = ()
    """maj@n of every validation, oldest first."""

    def with_row(self, row: MetricsRow) -> History:
        """The history behind one more row; a test says nothing about training."""
        majority = majority_name(row)
        if row["split"] == "validation" and majority is not None:
            return History(self.limits, self.first, self.newest, (*self.majorities, float(row[majority])))
        if row["split"] != "train":
            return self
        first = self.first if len(self.first) == WINDOW_STEPS else (*self.first, row)
        return History(self.limits, first, (*self.newest, row)[-WINDOW_STEPS:], self.majorities)

    def mean(self, name: str) -> float | None:
        """Over the newest rows; None until there are enough of them, or where one lacks the number."""
        return _mean(self.newest, name, WINDOW_STEPS)

    def always(self, name: str, condition: Callable[[float], bool]) -> bool:
        """Whether all of the newest rows have the number and fulfil the condition; False until there are enough."""
        values = [float(row[name]) for row in self.newest if name in row]
        return len(values) == WINDOW_STEPS and all(map(condition, values))

    def rises(self, name: str) -> bool:
        """Whether the number is greater in the newer half of the newest rows than in the older."""
        half = WINDOW_STEPS // 2
        older, newer = _mean(self.newest[:half], name, half), _mean(self.newest[half:], name, half)
        return older is not None and newer is not None and newer > older


def _mean(rows: Sequence[MetricsRow], name: str, num_rows: int) -> float | None:
    values = [float(row[name]) for row in rows if name in row]
    return sum(values) / num_rows if len(values) == num_rows else None


def engine_drift(history: History) -> str | None:
    """Engine and trainer differ by more than the tolerance, or by ever more."""
    name, tolerance = "engine_trainer_difference_mean", history.limits.drift_tolerance_nats
    now, at_first = history.mean(name), _mean(history.first, name, WINDOW_STEPS)
    if now is None or at_first is None:
        return None
    if now > tolerance:
        return (
            f"a mean difference of {now:.2g} nats per token over {WINDOW_STEPS} steps; the tolerance is {tolerance:g}"
        )
    if now > GROWTH * at_first and now > GROWTH_FLOOR * tolerance:
        return f"a mean difference of {now:.2g} nats per token; it was {at_first:.2g} in the first {WINDOW_STEPS} steps"
    return None


def zero_gradient(history: History) -> str | None:
    """No group has had a gradient for a while."""
    if not history.always("zero_gradient_fraction", lambda share: share == 1):
        return None
    return f"no group had a coefficient other than 0 in {WINDOW_STEPS} steps"


def all_truncated(history: History) -> str | None:
    """Answers are always cut off, or rationales are and nothing is learnt."""
    if history.always("unended_fraction", lambda share: share >= NEARLY_ALL):
        return f"every sampled answer of {WINDOW_STEPS} steps was cut off by rollout.max_answer_tokens"
    cut = history.always("truncated_fraction", lambda share: share >= NEARLY_ALL)
    if not cut or not _struggles(history) or history.rises("log_p_hat"):
        return None
    return f"every rationale of {WINDOW_STEPS} steps used up rollout.max_rationale_tokens, and log P does not rise"


def lone_rollout(history: History) -> str | None:
    """One rollout of each group carries all the weight."""
    num_rollouts = history.limits.num_rollouts
    if num_rollouts == 1 or history.limits.rewards_answers or not history.always("ess", lambda size: size < LONE_ESS):
        return None
    return f"an effective sample size of 1, of {num_rollouts} rollouts, in {WINDOW_STEPS} steps in a row"


def frozen_gradient(history: History) -> str | None:
    """The whole gradient is smaller than Adam's epsilon, so every entry of it is."""
    epsilon = history.limits.adam_epsilon
    if not history.always("grad_norm", lambda norm: 0 < norm < epsilon) or not _struggles(history):
        return None
    largest = max(float(row["grad_norm"]) for row in history.newest)
    return f"a gradient norm of at most {largest:.1e} in {WINDOW_STEPS} steps; Adam's epsilon is {epsilon:g}"


def collapse(history: History) -> str | None:
    """Validation lost what it had reached."""
    if not collapsed(history.majorities):
        return None
    return f"validation maj@n at {history.majorities[-1]:.3f}; it was {max(history.majorities):.3f} at its best"


def skipped_steps(history: History) -> str | None:
    """Several steps were left out."""
    number = sum(bool(row.get("skipped", 0)) for row in history.newest)
    return f"{number} of the newest {len(history.newest)} steps were left out" if number > MAX_SKIPPED else None


def distrusted_jackknife(history: History) -> str | None:
    """Most groups are too uneven for the jackknife."""
    if not history.always("jackknife_distrusted", lambda share: share > MAX_DISTRUSTED):
        return None
    return f"an effective sample size under 2 in most groups of {WINDOW_STEPS} steps"


def _struggles(history: History) -> bool:
    p_hat = history.mean("p_hat")
    return p_hat is not None and p_hat < SMALL_P_HAT


@dataclass(frozen=True)
class Rule:
    """A condition with its words."""

    sees: Callable[[History], str | None]
    """What the history shows; None where all is well."""
    headline: str
    why: str
    remedy: str
    by_validation: bool = False
    """Looked at with every validation, not with every step."""

    @property
    def name(self) -> str:
        """That of its condition."""
        return self.sees.__name__


RULES = (
    Rule(
        engine_drift,
        headline="engine and trainer drift apart",
        why="the engine samples from another distribution than the one that is trained: the gradient is biased",
        remedy="model.dtype=float32, or rollout.importance_correction=token; if it grows, rollout.max_staleness=0, "
        "and a short run with rollout=transformers beside it",
    ),
    Rule(
        zero_gradient,
        headline="all groups have zero gradient",
        why="nothing is learnt: rewards that are all alike, or weights that are all 0, have no direction",
        remedy="estimator=garl or paft with q=0.75 (they need no right answer), start=warm, "
        "start.supervised_steps=100, or more rollouts_per_prompt",
    ),
    Rule(
        all_truncated,
        headline="everything is truncated",
        why="the forced end of thinking is not sampled and learns nothing; an answer that is cut off is never right",
        remedy="a larger rollout.max_rationale_tokens or rollout.max_answer_tokens, or start=warm; rollouts/ shows how "
        "rationales end",
    ),
    Rule(
        lone_rollout,
        headline="the effective sample size is 1",
        why="one rationale of each group makes the estimate: as noisy as a single sample, with the largest bias",
        remedy="more rollouts_per_prompt, a lower q, or shorter gold answers",
    ),
    Rule(
        frozen_gradient,
        headline="the gradient is frozen below Adam's epsilon",
        why="Adam divides by the gradient's size plus epsilon: far below epsilon the weights do not move, whatever the "
        "learning rate; low q does this at a cold start",
        remedy="q=0.75 or q=1, start=warm, estimator.normalize=false, or a smaller optimizer.epsilon",
    ),
    Rule(
        collapse,
        headline="validation collapses",
        why="the policy loses what it had learnt; in the paper GARL does this at a warm start. best/ keeps the peak",
        remedy="estimator=paft, estimator.answer_term=false, a lower optimizer.learning_rate, or fewer num_steps",
        by_validation=True,
    ),
    Rule(
        skipped_steps,
        headline="steps are left out",
        why="their loss or gradient was not finite; the weights stay as they were. Their batches lie in bad-batches/",
        remedy="a lower optimizer.learning_rate or optimizer.max_grad_norm, or model.dtype=float32",
    ),
    Rule(
        distrusted_jackknife,
        headline="the jackknife works on too few rollouts",
        why="where one weight dominates, it pushes every other rollout down, however small their weights are",
        remedy="estimator.jackknife=false, or more rollouts_per_prompt",
    ),
)
