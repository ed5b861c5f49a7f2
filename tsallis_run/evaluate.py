"""An engine with weights -> pass@k and maj@k."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tsallis_run import ranks
from tsallis_run.config import EvaluationConfig, RunConfig
from tsallis_run.grading import is_right
from tsallis_run.metrics import bootstrap_interval, majority_vote, pass_at_k
from tsallis_run.prompts import ChatFormat
from tsallis_run.sampler import Sampler
from tsallis_run.tracking.rollout_rows import RolloutRow
from tsallis_run.tracking.rollout_table import evaluation_rows
from tsallis_run.types import Engine, Group, Prompt, RationaleEnd


@dataclass(frozen=True)
class Graded:
    """One example with its sampled answers, graded."""

    num_samples: int
    num_right: int
    majority_is_right: bool
    num_right_word_bounded: int
    """By the stricter match, logged beside the other where golds are yes or no."""
    num_unended: int
    """Answers cut off by `rollout.max_answer_tokens`."""
    num_truncated: int
    """Rationales cut off by `rollout.max_rationale_tokens`."""
    is_yes_no: bool


@dataclass(frozen=True)
class Evaluation:
    """What was sampled, and what it is worth."""

    groups: list[Group]
    """Of this rank's examples."""
    graded: list[Graded]
    """Of all examples."""


def evaluate(engine: Engine, sampler: Sampler, prompts: Sequence[Prompt], config: RunConfig, split: str) -> Evaluation:
    """Samples `evaluation.num_samples` answers to every prompt and grades them; collective.

    The random streams depend on the seed, the split and the example alone: the same weights give the same
    answers at any step, and in `task=evaluate`.

    Raises:
        GaveUpError: where the engine cannot sample.
    """
    engine.reset_cache()
    groups = sampler.sample(
        prompts,
        num_rollouts=config.evaluation.num_samples,
        answers=True,
        stream=f"seed {config.seed}, evaluation on {split}",
    )
    return Evaluation(groups, ranks.gathered([grade(group, config.evaluation) for group in groups]))


def grade(group: Group, config: EvaluationConfig) -> Graded:
    """Grades the answers of one example against every gold answer."""
    golds = group.prompt.example.golds
    answers = [rollout.answer for rollout in group.rollouts if rollout.answer is not None]
    texts = [answer.text for answer in answers]
    return Graded(
        num_samples=len(texts),
        num_right=sum(is_right(text, golds, config.match) for text in texts),
        majority_is_right=is_right(majority_vote(texts), golds, config.match),
        num_right_word_bounded=sum(is_right(text, golds, "word_bounded") for text in texts),
        num_unended=sum(not answer.ended for answer in answers),
        num_truncated=sum(rollout.end is RationaleEnd.BUDGET for rollout in group.rollouts),
        is_yes_no=group.prompt.example.answer.strip().lower() in ("yes", "no"),
    )


def evaluation_metrics(graded: Sequence[Graded], config: EvaluationConfig, *, seed: int) -> dict[str, float]:
    """pass@1, pass@n and maj@n as fractions with bootstrap intervals over examples, and what to watch."""
    n = config.num_samples
    per_example = {
        "pass@1": [pass_at_k(g.num_samples, g.num_right, 1) for g in graded],
        f"pass@{n}": [pass_at_k(g.num_samples, g.num_right, n) for g in graded],
        f"maj@{n}": [float(g.majority_is_right) for g in graded],
    }
    metrics: dict[str, float] = {}
    for name, values in per_example.items():
        metrics[name] = sum(values) / len(values)
        low, high = bootstrap_interval(values, config.confidence, config.bootstrap_resamples, seed)
        metrics |= {f"{name}_low": low, f"{name}_high": high}
    if config.match == "substring" and any(g.is_yes_no for g in graded):
        metrics["pass@1_word_bounded"] = sum(g.num_right_word_bounded for g in graded) / (n * len(graded))
    metrics["unended_fraction"] = sum(g.num_unended for g in graded) / (n * len(graded))
    metrics["truncated_fraction"] = sum(g.num_truncated for g in graded) / (n * len(graded))
    return metrics | {"num_examples": len(graded)}


def evaluated_rollouts(
    evaluation: Evaluation, split: str, step: int, config: RunConfig, format: ChatFormat
) -> Iterator[RolloutRow]:
    """The answers to this rank's first examples as text, `tracker.rollouts_examples` of them at most."""
    groups = evaluation.groups[: config.tracker.rollouts_examples]
    return evaluation_rows(split, step, groups, config.evaluation.match, format.decode_all)
