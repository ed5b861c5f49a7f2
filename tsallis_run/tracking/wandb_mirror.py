"""Weights & Biases, the mirror of metrics.jsonl: the one file that imports wandb, and only when it is used."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tsallis_run.config import RunConfig, WandbConfig
from tsallis_run.tracking.alarms import Alarm
from tsallis_run.tracking.panels import PANELS, STEP, panel_values
from tsallis_run.tracking.records import MetricsRow, RunFolder
from tsallis_run.tracking.rollout_rows import RolloutRow
from tsallis_run.types import UserError

if TYPE_CHECKING:
    import wandb

SECTIONS = ("train", "validation", "test", *PANELS)
FINISH_TIMEOUT_SECONDS = 120.0
"""W&B's own limit is none: without a network the end of an online run would wait for ever."""


def check_wandb(config: WandbConfig) -> None:
    """Finds out whether `online` could log in, before anything heavy starts; asks nobody, connects nowhere.

    Raises:
        UserError: where no key is found, or one that W&B would refuse by its form.
    """
    if config.mode != "online":
        return
    import wandb
    from wandb.sdk import wandb_setup
    from wandb.sdk.lib import wbauth

    # The lookup of wandb.init itself (environment, netrc, settings files): its public callers prompt in a terminal.
    host = wandb_setup.singleton().settings.base_url
    try:
        auth = wbauth.authenticate_session(host=host, source="tsallis-run", prompt=False, update_session=False)
        fault = None if auth else f"none for {host}"
    except wandb.errors.AuthenticationError as error:
        fault = str(error)
    if fault:
        raise UserError(
            f"tracker.wandb.mode: online needs an API key (WANDB_API_KEY, netrc or W&B's settings), got {fault}; "
            "run `wandb login`, or set tracker.wandb.mode=offline"
        )


class WandbMirror:
    """Mirrors rows to W&B: a `Tracker` that never raises.

    The first failure is told as a warning and ends the mirror; the run goes on, and metrics.jsonl has every row.
    """

    def __init__(self, config: RunConfig, folder: RunFolder, run_id: str, warn: Callable[[str], None]) -> None:
        """Starts the run at W&B, or continues it.

        Args:
            config: of the run; `tracker.wandb.mode` is not disabled.
            folder: W&B's files go under it.
            run_id: unique within the project; a resumed run brings its old one.
            warn: takes the warning line.
        """
        assert config.tracker.wandb.mode != "disabled", "a disabled mirror is not built"
        self._warn = warn
        self._run: wandb.Run | None = None
        with self._never_failing():
            self._run = _start(config, folder, run_id)

    def log(self, row: MetricsRow) -> None:
        """Sends one row, its names behind their panel: `maj@16` of validation becomes `validation/maj@16`."""
        if self._run is None:
            return
        with self._never_failing():
            # No step=: W&B drops a row whose step is behind the newest, as the test row's is. `step` is the axis.
            self._run.log({**panel_values(row), STEP: row[STEP]})

    def rollouts(self, rows: Sequence[RolloutRow]) -> None:
        """Sends the rollouts of one step and split as a table."""
        if self._run is None:
            return
        with self._never_failing():
            import wandb

            columns = [field.name for field in dataclasses.fields(RolloutRow)]
            data = [[_cell(getattr(row, column)) for column in columns] for row in rows]
            self._run.log({f"rollouts/{rows[0].split}": wandb.Table(columns=columns, data=data), STEP: rows[0].step})

    def alarm(self, alarm: Alarm) -> None:
        """Sends an alarm; W&B tells it by mail or chat where the user asks for that."""
        if self._run is None:
            return
        with self._never_failing():
            self._run.alert(alarm.headline, alarm.text)

    def finish(self, summary: MetricsRow, *, exit_code: int = 0) -> None:
        """Writes the summary and closes the run; `exit_code` other than 0 marks it as failed."""
        if self._run is None:
            return
        with self._never_failing():
            import wandb

            self._run.summary.update(summary)
            self._run.finish(exit_code=exit_code)
            # Only then has W&B's own process written its file to the end: finish() does not wait for that.
            wandb.teardown(exit_code)
        self._run = None

    @contextmanager
    def _never_failing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # any fault of a mirror is less than the run
            self._run = None
            fault = f"{type(error).__name__}: {error}"
            self._warn(f"W&B mirror stopped ({fault}); the run goes on, metrics.jsonl has every row")


def _cell(value: str | float | int | Sequence[str] | None) -> str | float | int | None:
    """A table's columns hold text, numbers and truth values alone."""
    return value if value is None or isinstance(value, str | float | int) else " | ".join(value)


def _start(config: RunConfig, folder: RunFolder, run_id: str) -> wandb.Run:
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    online = config.tracker.wandb.mode == "online"
    run = wandb.init(
        dir=folder.path,
        id=run_id,
        name=config.tracker.wandb.name or _run_name(config),
        # Offline, W&B knows nothing of the earlier run and would only warn.
        resume="allow" if online else None,
        mode=config.tracker.wandb.mode,
        project=config.tracker.wandb.project,
        entity=config.tracker.wandb.entity,
        group=config.tracker.wandb.group,
        tags=config.tracker.wandb.tags,
        config=config.model_dump(mode="json"),
        settings=_quiet_settings(),
    )
    for section in SECTIONS:
        run.define_metric(f"{section}/*", step_metric=STEP)
    return run


def _quiet_settings() -> wandb.Settings:
    """Metrics and configuration leave the process; no code, console, git state, host facts or messages do."""
    import wandb

    return wandb.Settings(
        silent=True,
        quiet=True,
        console="off",
        save_code=False,
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        finish_timeout=FINISH_TIMEOUT_SECONDS,
        finish_timeout_raises=True,
    )


def _run_name(config: RunConfig) -> str:
    q = "" if config.q_label is None else f" q={config.q_label}"
    return f"{config.estimator.name}{q} {config.start.name} {config.dataset.name} seed={config.seed}"
