"""Slurm for real, two nodes on this machine: `make test-slurm`. Needs root, Slurm and munge; no part of `make test`."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.runs import COMMAND, ENVIRONMENT, SMALL, finish, record, run, start, steps, wait_until

SCRIPT = Path(__file__).with_name("slurm_cluster.sh")
SHORT = ("num_steps=6", "evaluation.every_steps=6")
JOB = ("-m", "hydra/launcher=slurm", "launch.slurm.gpus_per_node=0", "launch.slurm.cpus_per_node=1")


@pytest.fixture(scope="module", autouse=True)
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("cluster")
    subprocess.run([SCRIPT, "start", folder], check=True)
    ENVIRONMENT["SLURM_CONF"] = str(folder / "slurm.conf")
    yield
    subprocess.run([SCRIPT, "stop", folder], check=True)


def ask(*command: str) -> str:
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout


def job_number(output: str) -> str:
    found = re.search(r"Slurm job (\d+)", output)
    assert found is not None, output
    return found.group(1)


def job(number: str) -> dict[str, str]:
    """What `scontrol show job` says of it."""
    told = ask("scontrol", "show", "job", number)
    print(told)  # pytest shows it where a proof fails, or with -s
    return dict(pair.split("=", 1) for pair in told.split() if "=" in pair)


def test_a_sweep_is_an_array_and_what_is_finished_is_not_run_again(tmp_path: Path) -> None:
    status, output = run(*JOB, *SHORT, "q=0.5,1", "output_dir=mine", cwd=tmp_path)
    assert status == 0
    array = ask("scontrol", "show", "job", job_number(output))
    assert array.count(f"ArrayJobId={job_number(output)}") == array.count("JobState=COMPLETED") == 2
    assert steps(tmp_path / "mine/q-0.5") == [0, *range(1, 7), 6, 0]
    status, output = run(*JOB, *SHORT, "q=0.5,0.75,1", "output_dir=mine", cwd=tmp_path)
    assert (status, output.count("skipped, finished before")) == (0, 2)
    assert job(job_number(output))["JobState"] == "COMPLETED"
    status, output = run(*JOB, *SHORT, "q=0.5,0.75,1", "output_dir=mine", cwd=tmp_path)
    assert "Slurm job" not in output


def test_a_run_that_meets_its_time_limit_goes_on_until_it_is_the_uninterrupted_one(tmp_path: Path) -> None:
    length = ("num_steps=700", "evaluation.every_steps=350")
    limit = ("launch.slurm.minutes=2", "launch.slurm.stop_seconds=55")
    status, output = run(*JOB, *limit, *length, "output_dir=mine", cwd=tmp_path, seconds=3000)
    assert status == 0
    told = job(job_number(output))
    assert told["JobState"] == "COMPLETED"
    assert int(told["Restarts"]) >= 2
    assert run(*length, "output_dir=uninterrupted", cwd=tmp_path)[0] == 0
    assert record(tmp_path / "mine/single") == record(tmp_path / "uninterrupted")
    starts = list((tmp_path / "mine/single/wandb").glob("offline-run-*"))
    assert len(starts) > 2
    assert len({folder.name.rsplit("-", 1)[1] for folder in starts}) == 1, "one run at W&B"


def test_a_run_on_two_machines_is_put_back_into_the_queue_and_equals_two_ranks_on_one(tmp_path: Path) -> None:
    length = ("num_steps=60", "evaluation.every_steps=60")
    process = start(*JOB, *length, "launch.num_nodes=2", "output_dir=mine", cwd=tmp_path)
    wait_until(lambda: 5 in steps(tmp_path / "mine/single"), seconds=300)
    number = ask("squeue", "--noheader", "--format=%A").strip()
    ask("scancel", "--signal=USR2", number)
    assert finish(process, seconds=600)[0] == 0
    told = job(number)
    assert (told["JobState"], told["NumNodes"], told["Restarts"]) == ("COMPLETED", "2", "1")
    assert run(*length, "launch.num_processes=2", "output_dir=one", cwd=tmp_path)[0] == 0
    assert record(tmp_path / "mine/single") == record(tmp_path / "one")


def test_tasks_of_srun_are_ranks(tmp_path: Path) -> None:
    srun = ("srun", "--nodes=2", "--ntasks-per-node=1", "--kill-on-bad-exit=1")
    command = [*srun, *COMMAND, *SMALL, *SHORT, "output_dir=mine"]
    subprocess.run(command, env=ENVIRONMENT, cwd=tmp_path, check=True, timeout=400)
    assert run(*SHORT, "launch.num_processes=2", "output_dir=one", cwd=tmp_path)[0] == 0
    assert record(tmp_path / "mine") == record(tmp_path / "one")


def test_a_job_that_is_cancelled_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    length = ("num_steps=60", "evaluation.every_steps=60")
    process = start(*JOB, *length, "output_dir=mine", cwd=tmp_path)
    wait_until(lambda: 5 in steps(tmp_path / "mine/single"), seconds=300)
    ask("scancel", ask("squeue", "--noheader", "--format=%A").strip())
    assert finish(process, seconds=200)[0] in (1, 75)
    saved = steps(tmp_path / "mine/single")
    assert run(*JOB, *length, "output_dir=mine", cwd=tmp_path)[0] == 0
    rows = steps(tmp_path / "mine/single")
    assert rows[: len(saved)] == saved, "nothing was run again"
    assert rows == [0, *range(1, 61), 60, 0]
