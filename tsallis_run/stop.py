"""Told to stop: the step is finished, the run saved, the exit status says that it can be resumed."""

from __future__ import annotations

import signal
from types import FrameType

from tsallis_run import ranks
from tsallis_run.types import STOP_SIGNALS

HELD_BACK = {signal.SIGUSR1, signal.SIGUSR2}
"""A cluster sends these to every process of a job, and one that does not expect them dies."""


class StopRequest:
    """Remembers that one of the stop signals arrived; the loop asks between steps.

    Build it before anything that starts processes: engines, servers and trackers inherit what is held back here, and
    so outlive the signal on which the run saves.
    """

    def __init__(self) -> None:
        self._received = False
        for number in STOP_SIGNALS:
            signal.signal(number, self._remember)
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)

    def agreed(self) -> bool:
        """True on every rank as soon as one was told to stop; collective."""
        told = self._received or not HELD_BACK.isdisjoint(signal.sigpending())
        return ranks.largest(float(told)) > 0

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._received = True
