"""Everything a run records, through one door: the record, its mirrors, the display, alarms, how it ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from tsallis_run.config import RunConfig
from tsallis_run.tracking import Trackers
from tsallis_run.tracking.alarm_rules import Limits
from tsallis_run.tracking.alarms import Alarm, Watch
from tsallis_run.tracking.display import Display
from tsallis_run.tracking.records import MetricsFile, MetricsRow, Results, RunFolder, write_results
from tsallis_run.tracking.rollout_rows import RolloutRow, write_rows
from tsallis_run.tracking.tensorboard_mirror import TensorBoardMirror
from tsallis_run.tracking.wandb_mirror import WandbMirror
from tsallis_run.types import ExitStatus, Tracker


class Mirror(Tracker, Protocol):
    """Shows a run elsewhere; never raises."""

    def rollouts(self, rows: Sequence[RolloutRow]) -> None:
        """The rollouts of one step and split, as text."""
        ...

    def alarm(self, alarm: Alarm) -> None:
        """Something is off."""
        ...

    def finish(self, summary: MetricsRow, *, exit_code: int = 0) -> None:
        """Closes it with what the run came to."""
        ...


class RunRecords:
    """The first rank's records; on other ranks a door that leads nowhere (see `silent`)."""

    def __init__(
        self,
        record: MetricsFile | None,
        mirrors: tuple[Mirror, ...],
        display: Display,
        folder: RunFolder | None,
        watch: Watch | None,
    ) -> None:
        self._trackers = Trackers((*([] if record is None else [record]), *mirrors))
        self._mirrors = mirrors
        self._display = display
        self._folder = folder
        self._watch = watch

    @classmethod
    def open(
        cls, config: RunConfig, folder: RunFolder, display: Display, *, run_id: str, step: int, validated_step: int
    ) -> RunRecords:
        """Starts the records, or continues them after `step` and the validation of `validated_step` (-1: none).

        Raises:
            UserError: where metrics.jsonl is broken before its last line.
        """
        record, watch = MetricsFile(folder.metrics), Watch(Limits.of(config))
        rows = record.rewind(step, validated_step)
        display.recall(rows)
        for row in rows:
            watch.hear(row)  # what was told before is not told again
        mirrors: list[Mirror] = []
        if config.tracker.wandb.mode != "disabled":
            mirrors.append(WandbMirror(config, folder, run_id, warn=display.note))
        if config.tracker.tensorboard:
            mirrors.append(TensorBoardMirror(folder, step=step, warn=display.note))
        return cls(record, tuple(mirrors), display, folder, watch)

    @classmethod
    def silent(cls, display: Display) -> RunRecords:
        """Records nothing: another rank does."""
        return cls(None, (), display, None, None)

    def train(self, row: MetricsRow) -> None:
        """One step of the run."""
        self._trackers.log(row)
        self._display.train_row(row)
        self._raise_alarms(row)

    def evaluation(self, row: MetricsRow) -> None:
        """One validation, or the test."""
        self._trackers.log(row)
        self._display.evaluation_row(row)
        self._raise_alarms(row)

    def rollouts(self, rows: Iterable[RolloutRow]) -> None:
        """The rollouts of one step and split as text; `rows` is drawn only where they are written."""
        if self._folder is None or not (table := list(rows)):
            return
        with self.dispensable("the rollout table"):
            write_rows(self._folder, table)
        for mirror in self._mirrors:
            mirror.rollouts(table)

    def note(self, text: str) -> None:
        """Something that the user is told once."""
        self._display.note(text)

    @contextmanager
    def dispensable(self, what: str) -> Iterator[None]:
        """While something is written that a run can do without: a disk that fails is told, and the run goes on."""
        try:
            yield
        except OSError as error:
            self.note(f"{what} could not be written ({error.strerror or error}); the run goes on")

    def finish(self, results: Results, status: ExitStatus) -> None:
        """Closes the mirrors with what the run came to, and writes results.json."""
        for mirror in self._mirrors:
            mirror.finish(_summary(results), exit_code=status)
        if self._folder is not None:
            write_results(self._folder, results)

    def _raise_alarms(self, row: MetricsRow) -> None:
        for alarm in self._watch.hear(row) if self._watch else ():
            self._display.note(alarm.text)
            for mirror in self._mirrors:
                mirror.alarm(alarm)


def _summary(results: Results) -> MetricsRow:
    best = {} if results.best_step is None else {"best_step": results.best_step}
    validation = {f"best_validation/{name}": value for name, value in results.validation.items()}
    return {**best, **validation, **{f"test/{name}": value for name, value in results.test.items()}}
