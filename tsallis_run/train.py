"""The loop, in the data's order: sync, sample, score, estimate, step, and now and then evaluate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from tsallis_run import ranks
from tsallis_run.batch import StepPlan, plan_of
from tsallis_run.config import QPerExample, RunConfig
from tsallis_run.diagnostics import diagnostics
from tsallis_run.ending import fail, fail_to_start, finish, record_crash, stopped
from tsallis_run.engine.weights import folder_weights
from tsallis_run.estimators.q_per_example import remembered
from tsallis_run.evaluate import Evaluation, evaluate, evaluated_rollouts, evaluation_metrics
from tsallis_run.learning import Learned, learn
from tsallis_run.memorisation import memorisation
from tsallis_run.parts import Parts, build
from tsallis_run.policy.best import forget_best, save_best
from tsallis_run.policy.checkpoint import Position, best_steps, save_checkpoint
from tsallis_run.policy.schedule import learning_rate_at
from tsallis_run.stop import StopRequest
from tsallis_run.tracking.bad_batch import write_bad_batch
from tsallis_run.tracking.display import open_display
from tsallis_run.tracking.records import MetricsRow, RunFolder
from tsallis_run.tracking.rollout_table import training_rows
from tsallis_run.types import DiskError, ExitStatus, GaveUpError, Group, UserError

STATIONS = ("sync", "generate", "score", "backward", "step")
"""Where the time of a step goes; the first step behind a checkpoint also tells the seconds of saving it."""


def train(config: RunConfig, folder: RunFolder) -> int:
    """Runs one training to its end, or to where it is told to stop; returns the exit status."""
    stop = StopRequest()
    ranks.join(config.rollout.patience_seconds)
    with open_display(config.tracker.display if ranks.is_first() else "silent", config.total_steps) as display:
        try:
            parts, position = build(config, folder, display)
        except UserError:
            raise
        except Exception as error:
            return fail_to_start(config, folder, error)
        with closing(parts):
            return run(parts, position, stop)


def run(parts: Parts, position: Position, stop: StopRequest) -> ExitStatus:
    """Trains from `position` on and tests the best weights; however that ends, the records say so.

    A stop is heard between steps and ahead of an evaluation; an evaluation that has begun is finished first.
    """
    config, saved = parts.config, position
    try:
        while not stop.agreed():
            if awaits_validation(position, config):
                position = validate(parts, position)
            elif position.step < config.total_steps:
                position = take_step(parts, position)
                check_skipped(position, config)
            else:
                return finish(parts, position, test(parts, position))
            if awaits_checkpoint(position, config):
                saved = save(parts, position, saved)
        save(parts, position, saved)
        return stopped(parts, position)
    except GaveUpError as error:
        return give_up(parts, position, saved, str(error))
    except DiskError as error:
        return fail(parts, position, f"the disk failed: {error}")
    except Exception as error:
        record_crash(parts, position, error)
        raise


def take_step(parts: Parts, position: Position) -> Position:
    """One pass through the stations.

    Raises:
        GaveUpError: where an engine failed; the weights are those of `position`.
    """
    config, clock, policy, step = parts.config, parts.clock, parts.policy, position.step
    ids = [prompt.example.id for prompt in parts.inputs.batch(step, config)]
    plan = plan_of(step, config, [position.last_log_p.get(id) for id in ids])
    probe_difference = synced(parts)
    with clock.phase("generate"):
        groups = parts.sampler.take(step)
        check_versions(groups, policy.version, config)
        parts.sampler.look_ahead(step + 1)
        parts.engine.sleep()
    learned = learn(policy, groups, plan, config, clock)
    with clock.phase("step"):
        learning_rate = learning_rate_at(step, config.optimizer, config.total_steps)
        grad_norm = 0.0 if learned.loss is None else policy.step(learning_rate)
    row: MetricsRow = {
        **learned_row(step + 1, learned, plan, config),
        "grad_norm": grad_norm,
        "learning_rate": learning_rate,
        "policy_version": policy.version,
        "probe_difference": probe_difference,
        **speed(clock.row(), learned),
    }
    if not math.isfinite(grad_norm):
        return leave_out(parts, position, row, groups, learned)
    ranks.agreed(lambda: parts.records.train({**row, "skipped": 0}))
    if awaits_rollouts(step + 1, config):
        shown = groups[: config.tracker.rollouts_examples]
        decode = parts.inputs.format.decode_all
        parts.records.rollouts(training_rows(step + 1, shown, learned.scores.log_p_answer, learned.own, decode))
    if isinstance(config.q, QPerExample):
        position = replace(position, last_log_p=remembered(position.last_log_p, ids, learned.batch.log_w))
    return replace(position, step=step + 1, skipped_in_a_row=0)


def learned_row(step: int, learned: Learned, plan: StepPlan, config: RunConfig) -> MetricsRow:
    """What is recorded of the batch that a step (from 1) learned from."""
    numbers = diagnostics(learned.batch, learned.coefficients, plan, config)
    start: MetricsRow = {"step": step, "split": "train", "phase": plan.phase, "loss": learned.loss or 0.0}
    return {**start, **numbers, **learned.work}


def speed(seconds: dict[str, float], learned: Learned) -> dict[str, float]:
    """The seconds of a step, none for a station that it left out, and the sampled tokens per second over them all."""
    num_tokens = float(learned.batch.num_tokens.sum())
    seconds = {f"{station}_seconds": 0.0 for station in STATIONS} | seconds
    return seconds | {"tokens_per_second": num_tokens / sum(seconds[f"{station}_seconds"] for station in STATIONS)}


def synced(parts: Parts) -> float:
    """Gives the engine the newest weights, between batches; returns its distance from the trainer, nats per token."""
    with parts.clock.phase("generate"):
        parts.sampler.settle()
    with parts.clock.phase("sync"):
        return parts.sync()


def check_versions(groups: Sequence[Group], version: int, config: RunConfig) -> None:
    """No rollout is older than `rollout.max_staleness` optimizer steps."""
    oldest = min(rollout.policy_version for group in groups for rollout in group.rollouts)
    allowed = config.rollout.max_staleness
    assert version - oldest <= allowed, f"rollouts of version {oldest} for weights of version {version}"


def leave_out(parts: Parts, position: Position, row: MetricsRow, groups: Sequence[Group], learned: Learned) -> Position:
    """Records a step whose loss or gradient is not finite: weights and optimizer are what they were."""
    step = position.step + 1
    with parts.records.dispensable("the bad batch"):
        write_bad_batch(parts.folder, step, ranks.rank(), groups, learned.scores.log_p_answer, learned.own)
    parts.records.note(f"step {step} left out: a number is not finite; its batch lies in {parts.folder.bad_batches}")
    ranks.agreed(lambda: parts.records.train({**_finite(row), "skipped": 1}))
    return replace(position, step=step, skipped_in_a_row=position.skipped_in_a_row + 1)


def check_skipped(position: Position, config: RunConfig) -> None:
    """Raises GaveUpError where more than `optimizer.max_skipped_steps` in a row were left out."""
    skipped, allowed = position.skipped_in_a_row, config.optimizer.max_skipped_steps
    if skipped > allowed:
        raise GaveUpError(f"{skipped} steps in a row had a number that is not finite (max_skipped_steps: {allowed})")


def awaits_validation(position: Position, config: RunConfig) -> bool:
    """True at the start, at every `evaluation.every_steps`-th step and at the last, until it has been done."""
    due = position.best_step is None or _is_due(position.step, config.evaluation.every_steps, config)
    return due and position.validated_step != position.step


def awaits_checkpoint(position: Position, config: RunConfig) -> bool:
    """True at every `checkpoint.every_steps`-th step and at the last, behind the validation of that step."""
    return _is_due(position.step, config.checkpoint.every_steps, config) and not awaits_validation(position, config)


def awaits_rollouts(step: int, config: RunConfig) -> bool:
    """True behind the first step, the last, and every `tracker.rollouts_every_steps`-th between."""
    every = config.tracker.rollouts_every_steps
    return every is not None and (step == 1 or _is_due(step, every, config))


def validate(parts: Parts, position: Position) -> Position:
    """Evaluates on validation; keeps the weights in best/ where maj@n is better than ever before."""
    config = parts.config
    synced(parts)
    with parts.clock.phase("evaluate"):
        evaluation = evaluate(parts.engine, parts.sampler, parts.inputs.validation, config, "validation")
        noise = memorisation(parts.policy, parts.engine, parts.sampler, parts.inputs, config)
    metrics = record(parts, evaluation, "validation", position.step, noise)
    position, name = replace(position, validated_step=position.step), f"maj@{config.evaluation.num_samples}"
    if position.best_step is not None and metrics[name] <= position.best_validation[name]:
        return position
    with parts.clock.phase("save"):
        save_best(parts.folder.best, position.step, parts.policy, parts.inputs.format.save_tokenizer)
    position = replace(position, best_step=position.step, best_validation=metrics)
    keep_best(parts, position)
    return position


def test(parts: Parts, position: Position) -> dict[str, float]:
    """Tests the weights with the best validation maj@n."""
    config, best_step = parts.config, position.best_step
    assert best_step is not None, "a run validates before its first step"
    parts.sampler.settle()
    ranks.agreed(lambda: parts.engine.load_weights(folder_weights(parts.folder.best), version=best_step))
    with parts.clock.phase("evaluate"):
        evaluation = evaluate(parts.engine, parts.sampler, parts.inputs.test, config, "test")
    return record(parts, evaluation, "test", best_step, noise={})


def record(parts: Parts, evaluation: Evaluation, split: str, step: int, noise: dict[str, float]) -> dict[str, float]:
    """Records an evaluation of the weights behind `step`, and returns its metrics, those of label noise with them."""
    config = parts.config
    metrics = evaluation_metrics(evaluation.graded, config.evaluation, seed=config.seed) | noise
    row: MetricsRow = {"step": step, "split": split, **metrics, **parts.clock.row()}
    ranks.agreed(lambda: parts.records.evaluation(row))
    if config.tracker.rollouts_every_steps is not None:
        parts.records.rollouts(evaluated_rollouts(evaluation, split, step, config, parts.inputs.format))
    return metrics


def save(parts: Parts, position: Position, saved: Position) -> Position:
    """Writes a checkpoint where there is none of this step, and removes best weights that none names any more.

    Returns:
        The position of the newest checkpoint.

    Raises:
        GaveUpError: where a weight is not finite: what was saved before is worth more.
    """
    if position.step == saved.step:
        return saved
    with parts.clock.phase("save"):
        if not parts.policy.is_finite():
            raise GaveUpError("a weight is not finite")
        save_checkpoint(parts.folder.checkpoints, parts.policy, position, parts.config)
    keep_best(parts, position)
    return position


def keep_best(parts: Parts, position: Position) -> None:
    """Removes best weights that neither the run nor a checkpoint of it names any more."""
    if ranks.is_first() and position.best_step is not None:
        forget_best(parts.folder.best, keep=best_steps(parts.folder.checkpoints) | {position.best_step})


def give_up(parts: Parts, position: Position, saved: Position, reason: str) -> ExitStatus:
    """Saves a run that cannot go on, and ends it; collective."""
    try:
        save(parts, position, saved)
    except (GaveUpError, DiskError) as error:
        reason = f"{reason}; not saved: {error}"
    return fail(parts, position, reason)


def _finite(row: MetricsRow) -> MetricsRow:
    return {name: value for name, value in row.items() if isinstance(value, str) or math.isfinite(value)}


def _is_due(step: int, every: int | None, config: RunConfig) -> bool:
    """True for every `every`-th step and for the last one; never where `every` is None."""
    return every is not None and (step % every == 0 or step == config.total_steps)
