"""Going on with a run: by `resume=RUN_FOLDER`, or by the same command with the same `output_dir`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tsallis_run.config import CIRCUMSTANCES, RunConfig, validate
from tsallis_run.tracking.records import RunFolder
from tsallis_run.types import UserError

OF_THE_MACHINE = {
    "zero.stage",
    "model.gradient_checkpointing",
    "model.offline_package",
    "optimizer.micro_batch_tokens",
    "optimizer.max_skipped_steps",
    "dataset.path",  # its examples are compared by their ids
    "rollout.timeout_seconds",
    "rollout.max_restarts",
    "rollout.gpu_memory_utilization",
    "rollout.kv_cache_gib",
    "rollout.sleep",
    "rollout.num_workers",
    "rollout.urls",
    "rollout.first_device",
    "rollout.trust_network",
    "rollout.weight_transfer",
    "rollout.start_timeout_seconds",
}
"""Settings that stand among those of the run: they change what it computes by rounding at most."""

UNDONE = {"num_steps", "dataset.path"}
"""Settings of one run that may leave it something to do: more steps, examples that have not been compared."""


def open_run(path: Path, config: RunConfig) -> RunFolder:
    """The folder of a run that begins there or goes on there, with this configuration in its config.yaml.

    Raises:
        UserError: where another run lies there, one line for every setting in which it differs.
    """
    folder = RunFolder(path)
    if folder.holds_records() and not config.force:
        saved = saved_config(folder)
        if faults := [_refusal(folder, *change) for change in changes(saved, config)]:
            raise UserError("\n".join(faults))
    return RunFolder.create(path, config.model_copy(update={"output_dir": str(path), "resume": None}))


def is_over(path: Path, config: RunConfig) -> bool:
    """True where that very run lies finished: there is nothing left to do."""
    folder = RunFolder(path)
    if config.force or not (folder.config_yaml.is_file() and folder.is_finished()):
        return False
    return {key for key, _, _ in _all_changes(saved_config(folder), config)} <= OF_THE_MACHINE - UNDONE


def saved_config(folder: RunFolder) -> RunConfig:
    """The configuration of the run that lies in `folder`.

    Raises:
        UserError: where no run lies there, or its config.yaml is not valid any more.
    """
    return validate({**folder.read_config(), "output_dir": str(folder.path), "resume": None, "force": False})


def changes(before: RunConfig, now: RunConfig) -> Iterator[tuple[str, Any, Any]]:
    """(key, before, now) of every setting that makes it another run."""
    allowed = OF_THE_MACHINE if now.optimizer.schedule != "constant" else OF_THE_MACHINE | {"num_steps"}
    return (change for change in _all_changes(before, now) if change[0] not in allowed)


def _all_changes(before: RunConfig, now: RunConfig) -> list[tuple[str, Any, Any]]:
    """Another estimator is told first, and not what follows from it: its loss, and that it uses no q."""
    follows: set[str] = set()
    if before.estimator.name != now.estimator.name:
        follows = {"loss", "q"} if None in (before.q, now.q) else {"loss"}
    old, new = (config.model_dump(mode="json", exclude=CIRCUMSTANCES | follows) for config in (before, now))
    return sorted(_differences("", old, new), key=lambda change: change[0] != "estimator.name")


def _differences(path: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """Where a section is of another kind, that alone is told, not all that follows from it."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        if before != now:
            yield path, before, now
        return
    keys = ["name"] if before.get("name") != now.get("name") else [*dict.fromkeys([*before, *now])]
    for key in keys:
        yield from _differences(f"{path}.{key}" if path else key, before.get(key), now.get(key))


def _refusal(folder: RunFolder, key: str, before: Any, now: Any) -> str:
    return (
        f"{key}: must stay {before} for the run in {folder.path} to go on, got {now}; leave it as it was, "
        "choose another output_dir for a new run, or set force=true"
    )
