"""task=evaluate: the test split under the weights of `model.path`, no training."""

from __future__ import annotations

from contextlib import closing

from tsallis_run import ranks
from tsallis_run.config import RunConfig
from tsallis_run.ending import fail_to_start
from tsallis_run.engine import build_engine
from tsallis_run.engine.weights import folder_weights
from tsallis_run.evaluate import Evaluation, evaluate, evaluated_rollouts, evaluation_metrics
from tsallis_run.inputs import Inputs, read_inputs
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.sampler import Sampler
from tsallis_run.summary import summary
from tsallis_run.tracking.display import Display, open_display
from tsallis_run.tracking.manifest import write_manifest
from tsallis_run.tracking.records import MetricsFile, MetricsRow, Results, RunFolder, write_results
from tsallis_run.tracking.rollout_rows import write_rows
from tsallis_run.types import ExitStatus, UserError


def evaluate_only(config: RunConfig, folder: RunFolder) -> int:
    """Runs one evaluation and records it; returns the exit status."""
    ranks.join(config.rollout.patience_seconds)
    with open_display(config.tracker.display if ranks.is_first() else "silent", total_steps=0) as display:
        try:
            _evaluate(config, folder, display)
        except UserError:
            raise
        except Exception as error:
            return fail_to_start(config, folder, error, "while it evaluated")
    return ExitStatus.FINISHED


def _evaluate(config: RunConfig, folder: RunFolder, display: Display) -> None:
    """The stations, in the order of `parts.build`; collective."""
    model = model_folder(config.model, seed=config.seed)
    inputs = ranks.agreed(lambda: read_inputs(config, model))
    display.note(summary(config, inputs, folder))
    room = inputs.max_length_tokens
    engine = ranks.agreed(lambda: build_engine(model, config, max_length_tokens=room, run_folder=folder.path))
    with closing(engine):
        ranks.agreed(lambda: engine.load_weights(folder_weights(model), version=0))
        display.phase("evaluate")
        evaluation = evaluate(engine, Sampler(engine, inputs, config), inputs.test, config, "test")
    metrics = evaluation_metrics(evaluation.graded, config.evaluation, seed=config.seed)
    ranks.agreed(lambda: _record(config, folder, inputs, evaluation, metrics))
    display.evaluation_row(_row(metrics))


def _record(
    config: RunConfig, folder: RunFolder, inputs: Inputs, evaluation: Evaluation, metrics: dict[str, float]
) -> None:
    if not ranks.is_first():
        return
    write_manifest(folder, dataset_ids_hash=inputs.ids_hash)
    record = MetricsFile(folder.metrics)
    record.rewind(-1, -1)  # of an evaluation that was cut off, or of another that was forced here
    record.log(_row(metrics))
    write_rows(folder, list(evaluated_rollouts(evaluation, "test", 0, config, inputs.format)))
    write_results(folder, Results.of(config, status="finished", best_step=0, validation={}, test=metrics))


def _row(metrics: dict[str, float]) -> MetricsRow:
    return {"step": 0, "split": "test", **metrics}
