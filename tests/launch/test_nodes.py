"""Where a process stands among the machines of a run."""

from __future__ import annotations

import pytest
from small import run_config

from tsallis_run.config import LaunchConfig
from tsallis_run.launch.nodes import FIRST_PORT, NUM_PORTS, Node, rank_environment, size_of_group, this_node
from tsallis_run.types import UserError

SOMEONE_ELSE = "192.0.2.1"
"""An address that RFC 5737 keeps for documentation: no machine has it."""


def settings(*overrides: str) -> LaunchConfig:
    return run_config(*(f"launch.{override}" for override in overrides), "prompts_per_step=48").launch


def slurm(*, tasks: int, nodes: int, task: int = 0, nodelist: str = "node[1-2]", step: int = 0) -> dict[str, str]:
    """What srun tells one of its tasks."""
    per_node = max(1, tasks // nodes)
    return {
        "SLURM_JOB_ID": "17",
        "SLURM_STEP_ID": str(step),
        "SLURM_STEP_NUM_TASKS": str(tasks),
        "SLURM_STEP_NUM_NODES": str(nodes),
        "SLURM_STEP_NODELIST": nodelist,
        "SLURM_PROCID": str(task),
        "SLURM_LOCALID": str(task % per_node),
        "SLURM_NODEID": str(task // per_node),
    }


def test_one_machine_meets_nobody() -> None:
    assert this_node(settings("num_processes=4"), {}) == Node(4, 1, None, is_first=True)


@pytest.mark.parametrize(("host", "is_first"), [("127.0.0.1", True), ("localhost", True), (SOMEONE_ELSE, False)])
def test_the_machine_that_the_rendezvous_names_is_the_first(host: str, is_first: bool) -> None:
    launch = settings("num_processes=4", "num_nodes=2", f"rendezvous={host}:29500")
    assert this_node(launch, {}) == Node(4, 2, f"{host}:29500", is_first)


def test_several_machines_need_a_place_to_meet() -> None:
    with pytest.raises(UserError, match=r"launch\.rendezvous: must be set for launch\.num_nodes=2 outside Slurm"):
        this_node(settings("num_nodes=2"), {})


def test_a_rendezvous_at_an_unknown_machine_is_a_mistake() -> None:
    with pytest.raises(UserError, match=r"of a machine that is known here, got nowhere\.invalid:29500"):
        this_node(settings("num_nodes=2", "rendezvous=nowhere.invalid:29500"), {})


def test_under_slurm_all_machines_of_a_step_find_the_same_place_and_the_first_knows_itself() -> None:
    launch = settings("num_nodes=2")
    first, second = (this_node(launch, slurm(tasks=2, nodes=2, task=task)) for task in (0, 1))
    assert (first.is_first, second.is_first) == (True, False)
    assert first.rendezvous == second.rendezvous
    host, port = str(first.rendezvous).split(":")
    assert host == "node1"
    assert FIRST_PORT <= int(port) < FIRST_PORT + NUM_PORTS


def test_two_steps_of_a_job_meet_at_ports_of_their_own() -> None:
    one, other = (this_node(settings("num_nodes=2"), slurm(tasks=2, nodes=2, step=step)).rendezvous for step in (0, 1))
    assert one != other


@pytest.mark.parametrize(
    ("nodelist", "first"),
    [
        ("node7", "node7"),
        ("node[1-2]", "node1"),
        ("gpu-a,gpu-b", "gpu-a"),
        ("node[003-010,012]", "node003"),
        ("rack[2,4]node[01-08],other", "rack2node01"),
        ("n[1-2].cluster.org", "n1.cluster.org"),
    ],
)
def test_the_first_machine_of_slurms_shorthand(nodelist: str, first: str) -> None:
    node = this_node(settings("num_nodes=2"), slurm(tasks=2, nodes=2, nodelist=nodelist))
    assert str(node.rendezvous).split(":")[0] == first


@pytest.mark.parametrize(
    ("overrides", "environment"),
    [
        ((), {}),
        (("num_processes=4",), {}),
        (("num_nodes=2", "rendezvous=here:1"), {}),
        ((), {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "17"}),  # a batch script, without srun
        (("num_processes=4",), slurm(tasks=1, nodes=1)),
        (("num_nodes=2", "num_processes=4"), slurm(tasks=2, nodes=2)),
        (("num_nodes=2", "rendezvous=here:1"), slurm(tasks=1, nodes=1)),  # a step of its own on each machine
    ],
)
def test_a_process_that_stands_alone_on_its_machine_starts_the_ranks(
    overrides: tuple[str, ...], environment: dict[str, str]
) -> None:
    assert rank_environment(settings(*overrides), environment) is None


def test_torchrun_has_told_its_ranks_everything() -> None:
    assert rank_environment(settings(), {"RANK": "0", **slurm(tasks=4, nodes=2)}) == {}


@pytest.mark.parametrize("overrides", [(), ("num_processes=3",), ("num_nodes=2",), ("num_processes=3", "num_nodes=2")])
def test_several_tasks_of_srun_are_the_ranks(overrides: tuple[str, ...]) -> None:
    environment = rank_environment(settings(*overrides), slurm(tasks=6, nodes=2, task=4))
    assert environment is not None
    port = environment.pop("MASTER_PORT")
    assert FIRST_PORT <= int(port) < FIRST_PORT + NUM_PORTS
    assert environment == {
        "RANK": "4",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "6",
        "LOCAL_WORLD_SIZE": "3",
        "MASTER_ADDR": "node1",
    }


@pytest.mark.parametrize(
    ("overrides", "environment"),
    [
        (("num_nodes=2",), slurm(tasks=1, nodes=1)),  # the other machine is missing
        (("num_nodes=4",), slurm(tasks=4, nodes=2)),
        (("num_processes=8",), slurm(tasks=2, nodes=2)),  # launch.num_nodes=2 was forgotten
        ((), slurm(tasks=3, nodes=2)),
    ],
)
def test_tasks_of_srun_that_are_neither_machines_nor_ranks_are_refused(
    overrides: tuple[str, ...], environment: dict[str, str]
) -> None:
    with pytest.raises(UserError, match=r"launch\.num_nodes: srun must start one task on each machine, or"):
        rank_environment(settings(*overrides), environment)


@pytest.mark.parametrize(
    ("environment", "size"),
    [
        ({}, (1, 1)),
        ({"WORLD_SIZE": "4"}, (4, 1)),
        ({"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}, (8, 2)),
    ],
)
def test_a_rank_counts_what_its_launcher_has_started(environment: dict[str, str], size: tuple[int, int]) -> None:
    assert size_of_group(environment) == {"num_processes": size[0], "num_nodes": size[1]}
