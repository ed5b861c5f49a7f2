"""Child processes, and the stop signals and exit statuses that pass between them. Knows nothing of runs."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import NoReturn

from tsallis_run.types import STOP_SIGNALS, ExitStatus


def run_child(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Runs `command` in a session of its own, passes stop signals on to it, and returns its exit status.

    A handler that was there before (a cluster's, that puts the job back into the queue) is called once the child
    has stopped and saved; not where it has finished or failed, which another start would not change.
    """
    courier = _Courier()
    before = {number: signal.signal(number, courier.take) for number in _signals_to_take()}
    try:
        with subprocess.Popen(command, env=dict(environment), start_new_session=True) as child:
            courier.deliver_to(child)
            status = exit_status(child.wait(), courier.delivered)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in courier.taken if status == ExitStatus.STOPPED else ():
        handler = before[number]
        if callable(handler) and handler is not signal.default_int_handler:
            handler(number, None)
    return status


def stop_at_once_when_told() -> None:
    """Ends this process at a stop signal, with the status of a run that was stopped.

    For the time before the training takes the signals over, when there is nothing to save yet.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, _stop)


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(ExitStatus.STOPPED)


def _signals_to_take() -> tuple[signal.Signals, ...]:
    """A closed terminal reaches this process only, the child being in another session; under nohup not even it."""
    ignores_hangup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return STOP_SIGNALS if ignores_hangup else (*STOP_SIGNALS, signal.SIGHUP)


class _Courier:
    """Takes signals for a child process; what comes before the child has started waits for it."""

    def __init__(self) -> None:
        self.taken: list[signal.Signals] = []
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def delivered(self) -> list[signal.Signals]:
        """The taken signals as the child gets them: a hangup is one more way to be told to stop."""
        return [signal.SIGTERM if number == signal.SIGHUP else number for number in self.taken]

    def take(self, number: int, _frame: FrameType | None) -> None:
        self.taken.append(signal.Signals(number))
        if self._child is not None:
            self._child.send_signal(self.delivered[-1])

    def deliver_to(self, child: subprocess.Popen[bytes]) -> None:
        waiting, self._child = self.delivered, child
        for number in waiting:
            child.send_signal(number)


def exit_status(returncode: int, told: Sequence[signal.Signals]) -> int:
    """A process that died of the signal it was told had not begun: there was nothing to save."""
    if returncode >= 0:
        return returncode
    if -returncode in told:
        return ExitStatus.STOPPED
    print(f"tsallis-run: a training process was killed by {signal.Signals(-returncode).name}", file=sys.stderr)
    return ExitStatus.FAILED
