"""Hydra's launchers `slurm` and `slurm_dry`: points as jobs of a cluster, through hydra-submitit-launcher.

Ahead of its time limit a job is sent SIGUSR2: the run saves, then submitit puts the job back into the queue.

Hydra imports every plugin whenever any Hydra application starts: submitit and the project's own modules are imported
on use.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher

if TYPE_CHECKING:
    from submitit import Job, SlurmExecutor

POLL_SECONDS = 10
RESULT_SECONDS = 30
"""How long a shared file system may take to show what a job that has left the queue has written."""


class TsallisSlurmLauncher(SlurmLauncher):
    """Submits the points as one array, and waits until they have left the queue."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Called by the sweeper; returns how each point ended.

        Raises:
            UserError: where there is no Slurm, the sweep is in its queue already, or sbatch refuses.
        """
        from submitit import SlurmExecutor

        from tsallis_run.types import ExitStatus

        folder = Path(self.config.hydra.sweep.dir)
        _check_cluster(folder)
        executor = self._executor(SlurmExecutor)
        jobs = _submit(executor, self, self._calls(job_overrides, initial_job_idx))
        number = jobs[0].job_id.partition("_")[0]
        print(f"Slurm job {number}; its logs are under {folder}/.submitit", flush=True)
        try:
            while _queue(f"--jobs={number}"):
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            print(f"tsallis-run: stopped waiting, job {number} goes on; scancel {number} ends it", file=sys.stderr)
            sys.exit(ExitStatus.STOPPED)
        return [_ended(job) for job in jobs]

    def _executor(self, kind: type[SlurmExecutor]) -> SlurmExecutor:
        """submitit's, with what conf/hydra/launcher/slurm.yaml sets."""
        given = {key: value for key, value in self.params.items() if value is not None}
        executor = kind(given.pop("submitit_folder"), max_num_timeout=given.pop("max_num_timeout"))
        if given["gpus_per_node"] == 0:
            del given["gpus_per_node"]  # a cluster without GPUs refuses to be asked for none
        given["name"] = Path(self.config.hydra.sweep.dir).name
        # srun does not take a job's cores over to its tasks since Slurm 22.05.
        given["setup"] = [*given["setup"], f"export SRUN_CPUS_PER_TASK={given['cpus_per_task']}"]
        given["additional_parameters"] = {"requeue": True, **given["additional_parameters"]}
        executor.update_parameters(**executor._convert_parameters(given))
        return executor

    def _calls(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[tuple[Any, ...]]:
        """The arguments with which `SlurmLauncher.__call__` composes and runs each point where it was sent."""
        state = Singleton.get_state()
        return [
            (list(overrides), "hydra.sweep.dir", index, f"job_id_for_{index}", state)
            for index, overrides in enumerate(job_overrides, first)
        ]


class TsallisSlurmScript(TsallisSlurmLauncher):
    """Prints the script instead."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Called by the sweeper; ends the process."""
        from submitit import SlurmExecutor

        class Printer(SlurmExecutor):
            """Works without a cluster, too."""

            @classmethod
            def affinity(cls) -> int:
                return 1

        executor = self._executor(Printer)
        if len(job_overrides) > 1:
            executor.parameters["map_count"] = len(job_overrides)
        print(executor._make_submission_file_text(executor._submitit_command_str, ""), "nothing submitted", sep="\n")
        sys.exit(0)


def _check_cluster(sweep: Path) -> None:
    from tsallis_run.types import UserError

    if shutil.which("sbatch") is None:
        raise UserError(
            "hydra/launcher: slurm needs sbatch, got none on PATH; run this where jobs are submitted, "
            "leave hydra/launcher out to run here, or print the job's script with hydra/launcher=slurm_dry"
        )
    submitted = f"{sweep.resolve()}/.submitit/"
    for job in _queue("--me"):
        number, _, script = job.partition(" ")
        if script.startswith(submitted):
            raise UserError(
                f"output_dir: must be a sweep that is not in the queue, got {sweep} (job {number}); "
                f"wait for it, or end it with scancel {number}"
            )


def _queue(which: str) -> list[str]:
    """Number and script of jobs that wait or run; while the cluster does not answer, they are taken to be there."""
    command = ["squeue", "--noheader", "--format=%A %o", which]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode and "Invalid job id" not in told.stderr:
        return [which]
    return told.stdout.splitlines()


def _submit(executor: SlurmExecutor, function: SlurmLauncher, calls: Sequence[tuple[Any, ...]]) -> list[Job[Any]]:
    from submitit.core.utils import FailedJobError

    from tsallis_run.types import UserError

    try:
        return executor.map_array(function, *zip(*calls, strict=True))
    except FailedJobError as error:
        reasons = [line for line in str(error).splitlines() if line.startswith("sbatch:")]
        raise UserError(f"launch.slurm: must be what the cluster has, got {' '.join(reasons) or error}") from None


def _ended(job: Job[Any]) -> JobReturn:
    """What the point's process returned, on its first machine."""
    task = job.task(0)
    for _ in range(RESULT_SECONDS):
        if task.paths.result_pickle.exists():
            break
        time.sleep(1)
    try:
        if task.paths.result_pickle.exists():
            return task.result()
    except Exception as error:
        fault: Exception = error
    else:
        fault = RuntimeError(f"job {job.job_id} left the queue without a result, see {task.paths.stderr}")
    returned = JobReturn()
    returned.return_value, returned.status = fault, JobStatus.FAILED
    return returned
