"""What a run shows while it works: one calm region in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal, Protocol, runtime_checkable

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tsallis_run.tracking.progress import (
    Progress,
    comparison_words,
    evaluation_words,
    majority_words,
    step_words,
    time_left_words,
    train_words,
)
from tsallis_run.tracking.records import MetricsRow

Clock = Callable[[], float]
"""Seconds from a fixed moment."""

REFRESHES_PER_SECOND = 4
BAR_COLUMNS = 30
STEPS_PER_LINE = 10
SECONDS_PER_LINE = 10.0
"""A line is due after either, so that fast runs and slow ones are both quiet and never silent for long."""


@runtime_checkable
class Display(Protocol):
    """Shows a run."""

    def recall(self, rows: Sequence[MetricsRow]) -> None:
        """The run goes on after these rows of an earlier start."""
        ...

    def phase(self, name: str) -> None:
        """The run enters sync, generate, score, backward, step, save or evaluate."""
        ...

    def train_row(self, row: MetricsRow) -> None:
        """A step was taken."""
        ...

    def evaluation_row(self, row: MetricsRow) -> None:
        """A validation or the test is done."""
        ...

    def note(self, text: str) -> None:
        """Something to be read once: a summary, a warning."""
        ...

    def close(self) -> None:
        """Leaves the terminal as a shell expects it."""
        ...


@contextmanager
def open_display(mode: Literal["auto", "live", "lines", "silent"], total_steps: int) -> Iterator[Display]:
    """Shows a run on standard output as long as the `with` block lasts.

    Args:
        mode: auto is live in a terminal and lines elsewhere; silent is for every rank but the first.
        total_steps: optimizer steps of the whole run.
    """
    display = _choose(mode, total_steps)
    try:
        yield display
    finally:
        display.close()


def _choose(mode: str, total_steps: int) -> Display:
    if mode == "silent":
        return SilentDisplay()
    console = Console(force_terminal=True if mode == "live" else None)
    if mode == "live" or (mode == "auto" and console.is_terminal and not console.is_dumb_terminal):
        return LiveDisplay(console, total_steps, time.monotonic)
    return LineDisplay(partial(print, flush=True), total_steps, time.monotonic)


class SilentDisplay:
    """Shows nothing."""

    def recall(self, rows: Sequence[MetricsRow]) -> None:
        pass

    def phase(self, name: str) -> None:
        pass

    def train_row(self, row: MetricsRow) -> None:
        pass

    def evaluation_row(self, row: MetricsRow) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class LiveDisplay:
    """A region of two lines that stays in its place; notes and evaluations scroll by above it."""

    def __init__(self, console: Console, total_steps: int, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._progress = Progress(total_steps)
        self._live = Live(console=console, get_renderable=self._region, refresh_per_second=REFRESHES_PER_SECOND)
        self._live.start()

    def recall(self, rows: Sequence[MetricsRow]) -> None:
        self._progress = self._progress.recalling(rows)

    def phase(self, name: str) -> None:
        self._progress = self._progress.in_phase(name)

    def train_row(self, row: MetricsRow) -> None:
        self._progress = self._progress.after_train_row(row, self._clock())

    def evaluation_row(self, row: MetricsRow) -> None:
        self._progress = self._progress.after_evaluation(row)
        self.note(evaluation_words(row))

    def note(self, text: str) -> None:
        self._console.print(Text(_printable(text)))

    def close(self) -> None:
        self.phase("")
        self._live.stop()

    def _region(self) -> Group:
        progress = self._progress
        bar = ProgressBar(total=progress.total_steps, completed=progress.step, width=BAR_COLUMNS)
        where = Table.grid(padding=(0, 2))
        where.add_row(step_words(progress), bar, time_left_words(progress, self._clock()), progress.phase)
        numbers = _join(train_words(progress), majority_words(progress))
        return Group(where, Text(numbers, no_wrap=True, overflow="ellipsis"))


class LineDisplay:
    """Plain lines, for files and pipes: never a control character."""

    def __init__(self, write_line: Callable[[str], None], total_steps: int, clock: Clock) -> None:
        self._write_line = write_line
        self._clock = clock
        self._progress = Progress(total_steps)
        self._last_line: tuple[int, float] | None = None

    def recall(self, rows: Sequence[MetricsRow]) -> None:
        self._progress = self._progress.recalling(rows)

    def phase(self, name: str) -> None:
        self._progress = self._progress.in_phase(name)

    def train_row(self, row: MetricsRow) -> None:
        now = self._clock()
        self._progress = self._progress.after_train_row(row, now)
        if self._is_due(now):
            self._last_line = (self._progress.step, now)
            left = time_left_words(self._progress, now)
            self.note(_join(step_words(self._progress), train_words(self._progress), left))

    def evaluation_row(self, row: MetricsRow) -> None:
        self._progress = self._progress.after_evaluation(row)
        comparison = comparison_words(self._progress) if row["split"] == "validation" else ""
        self.note(_join(evaluation_words(row), comparison))

    def note(self, text: str) -> None:
        self._write_line(_printable(text))

    def close(self) -> None:
        pass

    def _is_due(self, now: float) -> bool:
        if self._last_line is None or self._progress.step >= self._progress.total_steps:
            return True
        last_step, last_seconds = self._last_line
        return self._progress.step - last_step >= STEPS_PER_LINE or now - last_seconds >= SECONDS_PER_LINE


def _join(*words: str) -> str:
    return "  ".join(word for word in words if word)


def _printable(text: str) -> str:
    """The text with a blank for every control character but the newline."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)
