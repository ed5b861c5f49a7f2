"""The parts of the run, each tried: a sync with its probe, rollout groups, a full micro-batch forward and back."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from tsallis_run import ranks
from tsallis_run.batch import StepPlan, gather, numbers_of, plan_of
from tsallis_run.config import RunConfig
from tsallis_run.learning import score
from tsallis_run.packing import MicroBatch, micro_batches
from tsallis_run.parts import Parts
from tsallis_run.scoring import gold_and_sampled_answers, gold_answers
from tsallis_run.tree import trees
from tsallis_run.types import Group

T = TypeVar("T")

NOT_EVEN_OLD = -1
"""Version of an engine without weights: it must take them again."""


@dataclass(frozen=True)
class Synced:
    """The engine has the trainer's weights, and the probe has found them there."""

    difference: float
    """Mean |engine - trainer| log-prob on the probe, in nats per token."""
    first_seconds: float
    """With whatever warms up."""
    seconds: float


@dataclass(frozen=True)
class Sampled:
    """One rollout group for each rank, and what sampling it took."""

    groups: list[Group]
    first_seconds: float
    """Of the first, with whatever warms up."""
    one_seconds: float
    """Of one group."""
    two_seconds: float
    """Of two at once."""
    log_p: float
    """Mean log p(y*|x,z), in nats."""
    difference: float
    """Mean |engine - trainer| log-prob per rationale token, in nats."""

    @property
    def more_seconds(self) -> float:
        """What each further group adds: an engine samples many at once."""
        return max(self.two_seconds - self.one_seconds, 0.0)


@dataclass(frozen=True)
class Passes:
    """One micro-batch of the configured size, without gradient and with it."""

    num_tokens: int
    forward_seconds: float
    backward_seconds: float
    """With its own forward pass."""
    tokens_per_group: float
    """Of the groups that were sampled."""


@dataclass(frozen=True)
class Forecast:
    """What the seconds of the parts come to."""

    step_seconds: float
    evaluation_seconds: float
    """Of one validation."""
    run_seconds: float


def sync(parts: Parts) -> Synced:
    """Hands the weights over twice; collective. Raises as `WeightSync`."""
    _, first = timed(parts.sync)
    parts.engine.policy_version = NOT_EVEN_OLD
    difference, seconds = timed(parts.sync)
    return Synced(difference, first, seconds)


def sample(parts: Parts) -> Sampled:
    """Samples a group for each rank three times: to warm up, alone, and two at once; collective."""
    config = parts.config
    plan, num_ranks = estimator_plan(config), ranks.size()
    prompts = (parts.inputs.train * (2 * num_ranks))[: 2 * num_ranks]

    def sampled(num_groups: int, stream: str) -> tuple[list[Group], float]:
        return timed(
            lambda: parts.sampler.sample(
                prompts[: num_groups * num_ranks],
                num_rollouts=config.rollouts_per_prompt,
                answers=plan.by_reward,
                stream=stream,
            )
        )

    groups, first = sampled(1, "doctor, first")
    _, one = sampled(1, "doctor, one")
    _, two = sampled(2, "doctor, two")
    parts.engine.sleep()  # as the run does while the trainer works
    numbers = gather(numbers_of(groups, score(parts.policy, groups, plan, config), config))
    difference = float(numbers.difference_sum.sum() / numbers.compared_tokens.sum())
    return Sampled(groups, first, one, two, float(numbers.log_p_answer.mean()), difference)


def passes(parts: Parts, groups: Sequence[Group]) -> Passes:
    """Runs a micro-batch of `optimizer.micro_batch_tokens`, filled with copies of `groups`; no step; collective."""
    plan, max_tokens = estimator_plan(parts.config), parts.config.optimizer.micro_batch_tokens
    own = _batches(groups, plan, max_tokens)
    tokens_per_group = sum(batch.num_tokens for batch in own) / len(groups)
    copies = max(1, int(max_tokens // tokens_per_group))
    largest = max(_batches([*groups] * copies, plan, max_tokens), key=lambda batch: batch.num_tokens)
    parts.policy.log_probs([largest])  # warms up
    _, forward = timed(lambda: parts.policy.log_probs([largest]))
    weights = torch.ones(largest.num_scored)
    _, backward = timed(lambda: parts.policy.backward([largest], lambda batch, log_probs: weights, num_prompts=1))
    return Passes(largest.num_tokens, forward, backward, tokens_per_group)


def forecast(synced: Synced, sampled: Sampled, passes: Passes, parts: Parts) -> Forecast:
    """Every rollout trained, every answer as long as the rationales were short: an upper estimate."""
    config, inputs = parts.config, parts.inputs
    groups = config.prompts_per_step / ranks.size()
    token_seconds = (passes.forward_seconds + passes.backward_seconds) / passes.num_tokens
    generate = sampled.one_seconds + (groups - 1) * sampled.more_seconds
    step = synced.seconds + generate + groups * passes.tokens_per_group * token_seconds

    def evaluation(num_examples: int) -> float:
        per_rollout = sampled.more_seconds / config.rollouts_per_prompt or sampled.one_seconds / groups
        return num_examples * config.evaluation.num_samples / ranks.size() * per_rollout * _with_answer(sampled, config)

    validation = evaluation(len(inputs.validation))
    num_validations = config.total_steps // config.evaluation.every_steps + 2
    run = config.total_steps * step + num_validations * validation + evaluation(len(inputs.test))
    return Forecast(step, validation, run)


def estimator_plan(config: RunConfig) -> StepPlan:
    """Of the first step after the supervised ones."""
    return plan_of(config.start.supervised_steps, config)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What `work` returns, and its seconds."""
    start = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, time.perf_counter() - start


def peak_bytes() -> int:
    """The most that this process has held: of its GPU, or of the machine's memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _batches(groups: Sequence[Group], plan: StepPlan, max_tokens: int) -> list[MicroBatch]:
    answers = gold_and_sampled_answers if plan.by_reward else gold_answers
    return micro_batches(trees(groups, answers, max_tokens=max_tokens), max_tokens=max_tokens)


def _with_answer(sampled: Sampled, config: RunConfig) -> float:
    """How much longer a rollout is with an answer behind it, where none was sampled: at most."""
    if estimator_plan(config).by_reward:
        return 1.0
    lengths = [len(rollout.rationale) for group in sampled.groups for rollout in group.rollouts]
    return 1.0 + config.rollout.max_answer_tokens / (sum(lengths) / len(lengths))
