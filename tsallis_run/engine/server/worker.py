"""Inside a worker: vLLM's own server, which no stop signal ends and which does not outlive the run.

    python -m tsallis_run.engine.server.worker ARGUMENTS OF VLLM'S SERVER

Its standard input is the run's end: it closes when the process that started the worker is gone, however that ended.
"""

from __future__ import annotations

import os
import runpy
import signal
import threading
from multiprocessing import resource_tracker

import psutil  # type: ignore[import-untyped]

from tsallis_run.types import STOP_SIGNALS

TRACKER = "multiprocessing.resource_tracker import main"
"""In the command line of a resource tracker."""


def main() -> None:
    """Runs the server until the run ends.

    A cluster sends stop signals to every process of a job: the run then samples to the end of its step and saves.
    They are blocked, not ignored: vLLM sets handlers of its own, and the mask is what its processes inherit.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    resource_tracker.ensure_running()  # sooner or later it is, and where it is, Python unblocks SIGTERM and SIGINT
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)


def kill_session(session: int) -> None:
    """Kills every process of a session at once, whatever state it is in; itself last, where it is one of them.

    The resource trackers of Python's multiprocessing are left: they clear shared memory away and end by themselves.
    """
    members = [process for process in psutil.process_iter() if _belongs(process, session)]
    for process in sorted(members, key=lambda process: process.pid == os.getpid()):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def _belongs(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session and TRACKER not in " ".join(process.cmdline())
    except (ProcessLookupError, psutil.Error):
        return False


def _end_with_the_run() -> None:
    os.read(0, 1)
    kill_session(os.getsid(0))


if __name__ == "__main__":
    main()
