"""Ranks under torch's elastic launcher: on one machine, or on several that meet first."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]  # here: a second signal would meet a half-finished import in the handler

from tsallis_run.complaint import first_line
from tsallis_run.launch.nodes import Node
from tsallis_run.launch.processes import exit_status
from tsallis_run.types import STOP_SIGNALS, ExitStatus

if TYPE_CHECKING:
    import torch.distributed.launcher.api

SHUTDOWN_SECONDS = 5
"""What the other ranks of a machine get between SIGTERM and SIGKILL when one has failed."""

MEETING_SECONDS = 600
"""How long the machines of a run wait for one another."""

POLL_SECONDS = 0.5


def run_ranks(command: Sequence[str], node: Node) -> int:
    """Runs `command` as the ranks of this machine under torch's elastic launcher.

    Returns:
        The exit status of the first of them that failed.
    """
    told = _pass_stop_signals_on()
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        number, _store = _meet(node)
        elastic_launch(_settings(node, number), command[0])(*command[1:])
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return exit_status(failure.exitcode, told)
    except DistError as error:
        print(f"tsallis-run: launch.rendezvous: {node.rendezvous}: {first_line(error)}", file=sys.stderr)
        return ExitStatus.FAILED
    return ExitStatus.FINISHED


def _pass_stop_signals_on() -> list[signal.Signals]:
    """Tells the ranks, this process's children, what this process is told; returns the list that will hold it.

    The launcher's own answer to a signal gives the ranks half a minute and ends in a traceback, and to SIGUSR1 and
    SIGUSR2 it has none: so the ranks are told directly, and the launcher merely sees them exit.
    """
    told: list[signal.Signals] = []

    def tell_ranks(number: int, _frame: FrameType | None) -> None:
        ranks = psutil.Process().children()
        if not ranks:
            sys.exit(ExitStatus.STOPPED)
        told.append(signal.Signals(number))
        for rank in ranks:
            with suppress(psutil.NoSuchProcess):  # it ended just now
                rank.send_signal(number)

    for number in STOP_SIGNALS:
        signal.signal(number, tell_ranks)
    return told


def _settings(node: Node, number: int) -> torch.distributed.launcher.api.LaunchConfig:
    from torch.distributed.launcher.api import LaunchConfig

    alone = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "local_addr": "localhost"}
    together = {"rdzv_backend": "static", "rdzv_endpoint": node.rendezvous}
    return LaunchConfig(
        min_nodes=node.num_nodes,
        max_nodes=node.num_nodes,
        nproc_per_node=node.num_processes,
        run_id="tsallis-run",
        rdzv_configs={"rank": number},
        max_restarts=0,
        signals_to_handle="SIGQUIT",
        shutdown_timeout=SHUTDOWN_SECONDS,
        **(alone if node.rendezvous is None else together),
    )


def _meet(node: Node) -> tuple[int, object]:
    """Waits until all machines of the run are there; in Python, where a stop signal is heard.

    Returns:
        This machine's number, 0 for the first, and the store they met at. It is open as long as someone holds it, and
        the launchers use it too.
    """
    from torch.distributed import DistStoreError, TCPStore  # type: ignore[attr-defined]

    if node.rendezvous is None:
        return 0, None
    host, port = node.rendezvous.split(":")
    deadline = time.monotonic() + MEETING_SECONDS
    while not (node.is_first or _answers(host, int(port))):
        if time.monotonic() > deadline:
            raise DistStoreError(f"the first machine did not answer within {MEETING_SECONDS} s")
        time.sleep(POLL_SECONDS)
    store = TCPStore(host, int(port), is_master=node.is_first, multi_tenant=True)
    number = 0 if node.is_first else store.add("machines", 1)
    while (others := store.add("machines", 0)) < node.num_nodes - 1:
        if time.monotonic() > deadline:
            raise DistStoreError(f"{others + 1} of {node.num_nodes} machines came within {MEETING_SECONDS} s")
        time.sleep(POLL_SECONDS)
    return number, store


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=POLL_SECONDS).close()
    except OSError:
        return False
    return True
