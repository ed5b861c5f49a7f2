"""Where a process stands among the machines of a run, by its settings and by what torchrun or Slurm told it."""

from __future__ import annotations

import re
import socket
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from tsallis_run.config import LaunchConfig
from tsallis_run.types import UserError

FIRST_PORT, NUM_PORTS = 10_000, 20_000
"""Below those that Linux gives to outgoing connections."""


@dataclass(frozen=True)
class Node:
    """A machine of a run, on which one process starts the ranks."""

    num_processes: int
    """Ranks on it."""
    num_nodes: int
    """Machines of the run."""
    rendezvous: str | None
    """host:port on the first machine, where all meet; None where there is one."""
    is_first: bool
    """It makes the run folder, and rank 0 runs on it."""


def this_node(launch: LaunchConfig, environment: Mapping[str, str]) -> Node:
    """The machine on which this process is to start ranks.

    Raises:
        UserError: where nothing tells at which place several machines meet.
    """
    if launch.num_nodes == 1:
        rendezvous, is_first = None, True
    elif launch.rendezvous is not None:
        rendezvous, is_first = launch.rendezvous, _is_here(launch.rendezvous)
    elif "SLURM_STEP_NODELIST" in environment:
        rendezvous, is_first = _slurm_rendezvous(environment), environment["SLURM_NODEID"] == "0"
    else:
        raise UserError(
            f"launch.rendezvous: must be set for launch.num_nodes={launch.num_nodes} outside Slurm, got null; "
            "set it to host:port of the first machine, the same on all"
        )
    return Node(launch.num_processes, launch.num_nodes, rendezvous, is_first)


def rank_environment(launch: LaunchConfig, environment: Mapping[str, str]) -> dict[str, str] | None:
    """What a process started as a rank needs beside its environment; None for a process that starts ranks itself.

    torchrun starts ranks. srun starts one task for each of `launch.num_nodes` machines, or else its tasks are ranks.

    Raises:
        UserError: where srun's tasks are neither.
    """
    if "RANK" in environment:
        return {}
    if "SLURM_STEP_NUM_TASKS" not in environment:
        return None
    num_tasks, num_nodes = int(environment["SLURM_STEP_NUM_TASKS"]), int(environment["SLURM_STEP_NUM_NODES"])
    if num_tasks == num_nodes == launch.num_nodes or (num_tasks == 1 and launch.rendezvous is not None):
        return None
    per_node = num_tasks // num_nodes
    if num_tasks % num_nodes or launch.num_nodes not in (1, num_nodes) or launch.num_processes not in (1, per_node):
        raise UserError(
            "launch.num_nodes: srun must start one task on each machine, or one for each rank, "
            f"got {num_tasks} tasks on {num_nodes} machines for launch.num_nodes={launch.num_nodes} "
            f"launch.num_processes={launch.num_processes}; change these, or srun's --nodes and --ntasks-per-node"
        )
    host, _, port = _slurm_rendezvous(environment).partition(":")
    return {
        "RANK": environment["SLURM_PROCID"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "WORLD_SIZE": str(num_tasks),
        "LOCAL_WORLD_SIZE": str(per_node),
        "MASTER_ADDR": host,
        "MASTER_PORT": port,
    }


def size_of_group(environment: Mapping[str, str]) -> dict[str, int]:
    """`launch.num_processes` and `launch.num_nodes` as they are for a rank: its launcher decides, not the settings."""
    num_ranks = int(environment.get("WORLD_SIZE", "1"))
    per_node = int(environment.get("LOCAL_WORLD_SIZE", num_ranks))
    return {"num_processes": per_node, "num_nodes": num_ranks // per_node}


def _slurm_rendezvous(environment: Mapping[str, str]) -> str:
    """The step's first machine, and a port that another step there would hardly take."""
    first = re.match(r"([^,\[]|\[[^\]]*\])+", environment["SLURM_STEP_NODELIST"])
    assert first is not None, environment["SLURM_STEP_NODELIST"]
    host = re.sub(r"\[(\d+)[^\]]*\]", r"\1", first.group())
    step = f"{environment['SLURM_JOB_ID']}.{environment['SLURM_STEP_ID']}"
    return f"{host}:{FIRST_PORT + zlib.crc32(step.encode()) % NUM_PORTS}"


def _is_here(rendezvous: str) -> bool:
    """True where its host is this machine: no other's address can be bound."""
    host = rendezvous.partition(":")[0]
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UserError(
            f"launch.rendezvous: must be host:port of a machine that is known here, got {rendezvous}: {error.strerror}"
        ) from None
    return any(_can_bind(family, address) for family, _, _, _, address in found)


def _can_bind(family: socket.AddressFamily, address: tuple[object, ...]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as one:
        try:
            one.bind(address)
        except OSError:
            return False
    return True
