"""Jobs of Slurm: the script, what is refused, how a point that has left the queue is told; without a cluster."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command import Command

from hydra_plugins import tsallis_slurm_launcher

DRY = ("-m", "hydra/launcher=slurm_dry")
SLURM = ("-m", "hydra/launcher=slurm", "output_dir=mine")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(monkeypatch, capfd)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    return Cluster(monkeypatch, tmp_path / "bin")


class Cluster:
    """Stands in for Slurm's commands."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        self.answer("srun", "exit 1")
        self.answer("sbatch", "echo Submitted batch job 17")
        self.answer("squeue", "exit 0")

    def answer(self, command: str, script: str) -> None:
        """What `command` does from now on."""
        (self._folder / command).write_text(f"#!/bin/sh\n{script}\n")
        (self._folder / command).chmod(0o755)


def lines(script: str, start: str) -> set[str]:
    return {line.removeprefix(start).strip() for line in script.splitlines() if line.startswith(start)}


def test_the_script_asks_for_what_launch_says(command: Command) -> None:
    ended = command(
        *DRY,
        "q=0,0.5,1",
        "output_dir=mine",
        "launch.num_nodes=2",
        "launch.num_processes=4",
        "launch.slurm.partition=gpu",
        "launch.slurm.account=mine",
        "launch.slurm.minutes=120",
        "launch.slurm.stop_seconds=300",
        "launch.slurm.cpus_per_node=32",
        "launch.slurm.memory_gib=200",
        "launch.slurm.max_jobs=2",
        "launch.slurm.setup=[module load cuda]",
        "+launch.slurm.options.qos=high",
    )
    assert (ended.status, ended.errors) == (0, "")
    assert lines(ended.output, "#SBATCH") >= {
        "--nodes=2",
        "--ntasks-per-node=1",
        "--gpus-per-node=4",
        "--cpus-per-task=32",
        "--mem=200GB",
        "--time=120",
        "--signal=USR2@300",
        "--requeue",
        "--partition=gpu",
        "--account=mine",
        "--qos=high",
        "--job-name=mine",
        "--array=0-2%2",
    }
    assert "\nmodule load cuda\nexport SRUN_CPUS_PER_TASK=32\n" in ended.output
    assert ended.output.splitlines()[-1] == "nothing submitted"
    assert not Path("mine").exists()


def test_one_run_is_no_array_and_asks_for_no_more_than_it_needs(command: Command) -> None:
    script = command(*DRY, "launch.slurm.gpus_per_node=0").output
    asked = lines(script, "#SBATCH")
    assert {"--nodes=1", "--ntasks-per-node=1", "--time=1440", "--signal=USR2@600"} <= asked
    assert not any(option.startswith(("--array", "--gpus", "--mem", "--partition", "--account")) for option in asked)


def test_every_point_of_a_submission_runs_on_the_same_machines(command: Command) -> None:
    ended = command(*DRY, "hydra.sweeper.points=['q=0 launch.num_processes=2', 'q=1']")
    assert (ended.status, ended.errors) == (
        2,
        "tsallis-run: launch: must be the same for all points that are submitted together, got several; "
        "make a sweep of each\n",
    )


def test_faults_of_the_run_are_told_before_anything_is_submitted(command: Command, cluster: Cluster) -> None:
    cluster.answer("sbatch", "touch submitted")
    ended = command(*SLURM, "launch.slurm.minutes=1")
    assert ended.status == 2
    assert ended.errors.startswith("tsallis-run: launch.slurm.stop_seconds: must be less than launch.slurm.minutes=1")
    assert not Path("submitted").exists()


def test_without_slurm_there_is_one_message(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    ended = command(*SLURM)
    assert (ended.status, ended.errors) == (
        2,
        "tsallis-run: hydra/launcher: slurm needs sbatch, got none on PATH; run this where jobs are submitted, "
        "leave hydra/launcher out to run here, or print the job's script with hydra/launcher=slurm_dry\n",
    )


def test_what_sbatch_refuses_is_told(command: Command, cluster: Cluster) -> None:
    cluster.answer("sbatch", "echo sbatch: error: invalid partition specified: none >&2; exit 1")
    ended = command(*SLURM)
    assert ended.status == 2
    assert ended.errors.splitlines()[-1] == (
        "tsallis-run: launch.slurm: must be what the cluster has, got sbatch: error: invalid partition specified: none"
    )


def test_a_sweep_that_is_in_the_queue_is_not_submitted_again(command: Command, cluster: Cluster) -> None:
    cluster.answer("squeue", f"echo 12 /elsewhere/.submitit/a.sh; echo 13 {Path('mine').resolve()}/.submitit/b.sh")
    ended = command(*SLURM)
    assert ended.status == 2
    assert ended.errors.startswith(
        "tsallis-run: output_dir: must be a sweep that is not in the queue, got mine (job 13)"
    )


def test_a_job_that_leaves_the_queue_without_a_result_has_failed(
    command: Command, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tsallis_slurm_launcher, "RESULT_SECONDS", 0)
    cluster.answer(
        "squeue", 'case "$*" in *--jobs*) echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1;; esac'
    )
    ended = command(*SLURM, "q=0,1")
    assert ended.status == 1
    assert "Slurm job 17; its logs are under mine/.submitit" in ended.output
    assert ended.output.count("failed with exit status 1") == 2
    assert "q-1: RuntimeError('job 17_1 left the queue without a result, see" in ended.errors


def test_a_job_is_waited_for_while_the_cluster_does_not_answer(
    command: Command, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.answer("squeue", 'case "$*" in *--jobs*) echo "Unable to contact slurm controller" >&2; exit 1;; esac')

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tsallis_slurm_launcher.time, "sleep", interrupted)
    ended = command(*SLURM, "q=0,1")
    assert ended.status == 75
    assert ended.errors == "tsallis-run: stopped waiting, job 17 goes on; scancel 17 ends it\n"
