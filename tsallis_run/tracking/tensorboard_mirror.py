"""TensorBoard, a mirror of metrics.jsonl without an account: the one file that imports tensorboardX, when it is used.

`tensorboard --logdir RUN_FOLDER` shows it; that program is not needed to write.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tsallis_run.tracking.alarms import Alarm
from tsallis_run.tracking.panels import panel_values
from tsallis_run.tracking.records import MetricsRow, RunFolder
from tsallis_run.tracking.rollout_rows import RolloutRow

if TYPE_CHECKING:
    from tensorboardX import RecordWriter
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

FILE_VERSION = "brain.Event:2"


class TensorBoardMirror:
    """Mirrors rows to an event file: a `Tracker` that never raises.

    Written in the run's own process. The package's writer hands events to a thread: where a disk is full that thread
    dies, and the run would wait for ever to hand over the next one.
    """

    def __init__(self, folder: RunFolder, *, step: int, warn: Callable[[str], None]) -> None:
        """Starts an event file.

        Args:
            folder: of the run; the file goes under it.
            step: steps that lie behind; TensorBoard forgets what an earlier start wrote beyond them.
            warn: takes the warning line.
        """
        self._warn = warn
        self._file: RecordWriter | None = None
        with self._never_failing():
            from tensorboardX import RecordWriter
            from tensorboardX.proto.event_pb2 import Event, SessionLog

            folder.tensorboard.mkdir(exist_ok=True)
            name = f"events.out.tfevents.{time.time_ns() // 10**9}.{socket.gethostname()}.{step}"
            self._file = RecordWriter(str(folder.tensorboard / name))
            self._write(Event(wall_time=time.time(), file_version=FILE_VERSION))
            start = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=max(step, 0) + 1, session_log=start))

    def log(self, row: MetricsRow) -> None:
        """Writes a row's numbers, named as at W&B; its words have no curve."""
        if self._file is None:
            return
        with self._never_failing():
            from tensorboardX.proto.summary_pb2 import Summary

            numbers = {name: float(value) for name, value in panel_values(row).items() if not isinstance(value, str)}
            values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
            self._write_summary(int(row["step"]), Summary(value=values))

    def rollouts(self, rows: Sequence[RolloutRow]) -> None:
        """TensorBoard has no tables: the files under rollouts/ hold them."""

    def alarm(self, alarm: Alarm) -> None:
        """Writes an alarm under `Text`."""
        if self._file is None:
            return
        with self._never_failing():
            from tensorboardX.summary import text

            self._write_summary(alarm.step, text(f"alarms/{alarm.name}", alarm.text))

    def finish(self, summary: MetricsRow, *, exit_code: int = 0) -> None:
        """Closes the file; TensorBoard knows neither a summary nor an exit code."""
        if self._file is None:
            return
        with self._never_failing():
            self._file.close()
        self._file = None

    def _write_summary(self, step: int, summary: Summary) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, event: Event) -> None:
        assert self._file is not None, "a closed mirror writes nothing"
        self._file.write(event.SerializeToString())
        self._file.flush()

    @contextmanager
    def _never_failing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # any fault of a mirror is less than the run
            if self._file is not None:
                with suppress(Exception):
                    self._file.close()
            self._file = None
            fault = f"{type(error).__name__}: {error}"
            self._warn(f"TensorBoard mirror stopped ({fault}); the run goes on, metrics.jsonl has every row")
