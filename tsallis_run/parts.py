"""Everything that the loop works with, built before it starts."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace

from tsallis_run import ranks
from tsallis_run.config import RunConfig
from tsallis_run.engine import build_engine
from tsallis_run.inputs import Inputs, read_inputs
from tsallis_run.policy.best import return_to_best
from tsallis_run.policy.checkpoint import Checkpoint, Position, load_checkpoint, newest_checkpoint
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.policy.random_state import restore_random_state
from tsallis_run.policy.token_scorer import load_scorer
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.sampler import Sampler
from tsallis_run.summary import summary
from tsallis_run.tracking.clock import Clock
from tsallis_run.tracking.display import Display
from tsallis_run.tracking.manifest import read_manifest, write_manifest
from tsallis_run.tracking.records import RunFolder
from tsallis_run.tracking.run_records import RunRecords
from tsallis_run.types import Engine, UserError
from tsallis_run.weight_sync import WeightSync, probe_ids


@dataclass(frozen=True)
class Parts:
    """The stations of a run and what it writes to."""

    config: RunConfig
    folder: RunFolder
    inputs: Inputs
    policy: ZeroPolicy
    engine: Engine
    sampler: Sampler
    sync: WeightSync
    records: RunRecords
    clock: Clock

    def close(self) -> None:
        """Ends what was started beside this process."""
        self.engine.close()  # what is being sampled ahead breaks off: nobody waits for it
        self.sampler.close()


def build(config: RunConfig, folder: RunFolder, display: Display) -> tuple[Parts, Position]:
    """Builds every part and says where the run stands: at its start, or at its newest whole checkpoint.

    The order matters: DeepSpeed before vLLM, whose process group would else be taken for the run's. The engine holds
    no weights yet.

    Raises:
        UserError: where the run cannot go on from what lies in the folder.
        GaveUpError: where the engine does not start.
        DiskError: where nothing can be written.
    """
    model = model_folder(config.model, seed=config.seed)
    inputs = ranks.agreed(lambda: read_inputs(config, model))
    checkpoint, position = ranks.decided(lambda: _progress(inputs, config, folder, display))
    display.note(summary(config, inputs, folder))
    ranks.agreed(lambda: _write_manifest(folder, config, inputs, position))
    policy = ZeroPolicy(load_scorer(inputs.model_folder, config.model), config)
    if checkpoint is not None:
        load_checkpoint(checkpoint, policy)
        display.note(f"goes on after step {position.step}")
    room = inputs.max_length_tokens
    engine = ranks.agreed(
        lambda: build_engine(inputs.model_folder, config, max_length_tokens=room, run_folder=folder.path)
    )
    if checkpoint is not None:
        restore_random_state(checkpoint.random_state(ranks.rank()))
    sync = WeightSync(policy, engine, probe_ids(inputs.train[0]), config.probe_tolerance_nats)
    records = ranks.agreed(lambda: _records(config, folder, display, position))
    sampler = Sampler(engine, inputs, config)
    return Parts(config, folder, inputs, policy, engine, sampler, sync, records, Clock(display.phase)), position


def _progress(
    inputs: Inputs, config: RunConfig, folder: RunFolder, display: Display
) -> tuple[Checkpoint | None, Position]:
    checkpoint = newest_checkpoint(folder.checkpoints, display.note)
    if checkpoint is None:
        return None, _start()
    return checkpoint, _position_of(checkpoint, inputs, config, folder)


def _start() -> Position:
    return Position(0, None, None, {}, skipped_in_a_row=0, wandb_run_id=uuid.uuid4().hex[:8])


def _position_of(checkpoint: Checkpoint, inputs: Inputs, config: RunConfig, folder: RunFolder) -> Position:
    """Where the checkpoint stands, once the examples and the best weights are found to be those it was made with.

    With `force` other examples are taken, and best weights that are lost are forgotten: the next are found anew.
    """
    position, faults = checkpoint.position, []
    before = read_manifest(folder).get("dataset_ids_hash", inputs.ids_hash)
    if before != inputs.ids_hash:
        faults.append(
            f"dataset: must hold the examples that the run in {folder.path} began with (hash of their ids {before}), "
            f"got {inputs.ids_hash}; bring them back, start a new run, or set force=true"
        )
    try:
        if position.best_step is not None:
            return_to_best(folder.best, position.best_step)
    except ValueError as error:
        faults.append(
            f"resume: {folder.best} must hold the whole weights of step {position.best_step}, got {error}; "
            "bring a copy back, or set force=true to do without them"
        )
        position = replace(position, best_step=None, best_validation={}, validated_step=None)
    if faults and not config.force:
        raise UserError("\n".join(faults))
    return position


def _write_manifest(folder: RunFolder, config: RunConfig, inputs: Inputs, position: Position) -> None:
    if ranks.is_first():
        noise = config.dataset.noise
        label = None if noise is None else noise.label
        write_manifest(folder, dataset_ids_hash=inputs.ids_hash, step=position.step, label_noise=label)


def _records(config: RunConfig, folder: RunFolder, display: Display, position: Position) -> RunRecords:
    if not ranks.is_first():
        return RunRecords.silent(display)
    validated_step = -1 if position.validated_step is None else position.validated_step
    run_id = position.wandb_run_id
    return RunRecords.open(config, folder, display, run_id=run_id, step=position.step, validated_step=validated_step)
