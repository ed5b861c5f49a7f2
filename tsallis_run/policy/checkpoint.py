"""Checkpoints: written to the side, flushed, their marker last, renamed when whole.

    step-000100/
        state-1-of-2.safetensors   weights and the optimizer's moments in float32, each whole, dealt out over the ranks
        random-0.json              the random generators of each rank
        position.json              where the run stands
        config.yaml                the resolved configuration
        COMPLETE                   the marker: the format, and the size of every file

There is no pickle in it: opening a checkpoint runs no code. It is opened by any number of ranks at any ZeRO stage.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tsallis_run import ranks
from tsallis_run.config import RunConfig
from tsallis_run.disk import publish
from tsallis_run.policy.random_state import save_random_state
from tsallis_run.policy.tensor_files import check_tensors, disk_faults
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.types import DiskError, UserError

MARKER = "COMPLETE"
FORMAT = 1
"""Of what lies in the folder; one of another format is not opened."""


@dataclass(frozen=True)
class Position:
    """Where a run stands, beside its weights and optimizer."""

    step: int
    """Steps behind it, also those that were left out."""
    validated_step: int | None
    """Step of the newest validation."""
    best_step: int | None
    best_validation: dict[str, float]
    """Of `best_step`."""
    skipped_in_a_row: int
    """Steps left out since the last one that was taken."""
    wandb_run_id: str
    last_log_p: dict[str, float] = field(default_factory=dict)
    """Example id -> log of the estimate of P at its last visit, in nats; only a q per example keeps it."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder that holds one."""

    path: Path
    position: Position
    policy_version: int
    """Optimizer steps behind its weights."""
    model: str
    """See `ZeroPolicy.model`."""

    def random_state(self, rank: int) -> Path:
        """The random generators of a rank."""
        return self.path / random_file(rank)


def save_checkpoint(folder: Path, policy: ZeroPolicy, position: Position, config: RunConfig) -> None:
    """Writes `folder`/step-NNNNNN and forgets all but the newest `checkpoint.keep`; collective.

    Raises:
        DiskError: on every rank, where any could not write; older checkpoints stay.
    """
    target, unfinished = folder / f"step-{position.step:06d}", folder / f".step-{position.step:06d}"
    own, record = _dealt(policy), {"policy_version": policy.version, "model": policy.model}
    try:
        ranks.agreed(lambda: _begin(unfinished))
        ranks.agreed(lambda: _write_own(unfinished, own))
        ranks.agreed(lambda: _complete(unfinished, target, record, position, config))
    except DiskError:
        if ranks.is_first():
            shutil.rmtree(unfinished, ignore_errors=True)
        raise


def load_checkpoint(checkpoint: Checkpoint, policy: ZeroPolicy) -> None:
    """Continues from a checkpoint, written by whatever number of ranks at whatever ZeRO stage; collective.

    Raises:
        UserError: where it is of another model, or lacks what the optimizer keeps.
    """
    ranks.agreed(lambda: _load(checkpoint, policy))


def _load(checkpoint: Checkpoint, policy: ZeroPolicy) -> None:
    if checkpoint.model != policy.model:
        raise UserError(
            f"resume: the checkpoint must be of the same model ({policy.model}), got {checkpoint.path} of "
            f"{checkpoint.model}; resume with that model, or start a new run from model.path=RUN_FOLDER/best"
        )
    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(file, "pt")) for file in checkpoint.path.glob("state-*.safetensors")]
        file_of = {name: file for file in files for name in file.keys()}  # noqa: SIM118

        def read(name: str) -> Tensor:
            if name not in file_of:
                raise UserError(
                    f"optimizer.name: must be the one of {checkpoint.path} for the run to go on, got another (it keeps "
                    f"{name.split('/')[0]}, which the checkpoint has not); leave it as it was"
                )
            value: Tensor = file_of[name].get_tensor(name)
            return value

        policy.load_state(read, checkpoint.policy_version)


def newest_checkpoint(folder: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest one that is whole; None where there is none of any kind. Each damaged one on the way is told.

    Raises:
        UserError: where every one is damaged.
    """
    faults = []
    for path in reversed(checkpoints(folder)):
        try:
            return _opened(path)
        except ValueError as error:
            faults.append(f"{path}: {error}")
            warn(f"left out a damaged checkpoint, {faults[-1]}")
    if faults:
        raise UserError(
            f"resume: must have a whole checkpoint, got {'; '.join(faults)}; bring a copy back, or remove "
            f"{folder} to start the run over"
        )
    return None


def checkpoints(folder: Path) -> list[Path]:
    """Those with their marker, oldest first."""
    return sorted(marker.parent for marker in folder.glob(f"step-*/{MARKER}"))


def random_file(rank: int) -> str:
    """Of the random generators of a rank."""
    return f"random-{rank}.json"


def best_steps(folder: Path) -> set[int]:
    """Steps of the best weights that whole checkpoints refer to."""
    found = set()
    for path in checkpoints(folder):
        with suppress(ValueError):
            found.add(_opened(path).position.best_step)
    return {step for step in found if step is not None}


def _dealt(policy: ZeroPolicy) -> dict[str, Tensor]:
    """This rank's share of the policy's state, on the CPU."""
    own, size = {}, ranks.size()
    for index, (name, value) in enumerate(policy.state()):
        if index % size == ranks.rank():
            own[name] = value.cpu().clone()
    return own


def _begin(unfinished: Path) -> None:
    if ranks.is_first():
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)


def _write_own(unfinished: Path, own: dict[str, Tensor]) -> None:
    with disk_faults():
        save_file(own, unfinished / f"state-{ranks.rank() + 1}-of-{ranks.size()}.safetensors")
    save_random_state(unfinished / random_file(ranks.rank()))


def _complete(
    unfinished: Path, target: Path, policy_record: dict[str, object], position: Position, config: RunConfig
) -> None:
    if not ranks.is_first():
        return
    record = {"position": asdict(position), **policy_record}
    (unfinished / "position.json").write_text(json.dumps(record), encoding="utf-8")
    (unfinished / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    sizes = {file.name: file.stat().st_size for file in sorted(unfinished.iterdir())}
    (unfinished / MARKER).write_text(json.dumps({"format": FORMAT, "files": sizes}), encoding="utf-8")
    publish(unfinished, target)
    older = [path for path in checkpoints(target.parent) if path.name < target.name]
    for path in older[: max(len(older) + 1 - config.checkpoint.keep, 0)]:
        shutil.rmtree(path)


def _opened(path: Path) -> Checkpoint:
    """What the small files say, once every file has been found whole.

    Raises:
        ValueError: where one is not, in words.
    """
    marker = _read_json(path / MARKER)
    if marker.get("format") != FORMAT:
        raise ValueError(f"its format must be {FORMAT}, got {marker.get('format')}")
    for name, size in marker["files"].items():
        file = path / name
        if not file.is_file():
            raise ValueError(f"{name} is missing")
        if file.stat().st_size != size:
            raise ValueError(f"{name} must have {size} bytes, got {file.stat().st_size}")
    for file in path.glob("state-*.safetensors"):
        check_tensors(file)
    record = _read_json(path / "position.json")
    return Checkpoint(path, Position(**record["position"]), record["policy_version"], record["model"])


def _read_json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file.name}: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{file.name}: must hold an object, got {type(data).__name__}")
    return data
