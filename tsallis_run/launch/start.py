"""The command's own process: it opens the run folder and starts the ranks, or is a rank itself."""

from __future__ import annotations

import os
import re
import sys
from datetime import datetime
from pathlib import Path

from tsallis_run.config import RunConfig, validate
from tsallis_run.doctor.findings import Findings
from tsallis_run.doctor.place import trial_folder
from tsallis_run.engine.server.presence import check_servers
from tsallis_run.launch.environment import child_environment
from tsallis_run.launch.nodes import Node, rank_environment, size_of_group, this_node
from tsallis_run.launch.processes import run_child, stop_at_once_when_told
from tsallis_run.launch.rank import work
from tsallis_run.report import render, result_table
from tsallis_run.resume import is_over, open_run
from tsallis_run.tracking.records import RunFolder
from tsallis_run.types import ExitStatus, UserError


def launch(config: RunConfig) -> int:
    """Runs `config` from its start, or from its last checkpoint where `config.resume` is set, to its end.

    A finished run closes with its row of results.

    Returns:
        The exit status of the run, an `ExitStatus` where it ended by itself.

    Raises:
        UserError: where the run folder cannot be had, or a server of `rollout.urls` is not there.
    """
    if config.task == "doctor":
        return _examine(config)
    path = config.resume or config.output_dir
    if path is not None and is_over(Path(path), config):
        print(f"finished before, nothing is left to do\n{_table(Path(path))}", flush=True)
        return ExitStatus.FINISHED
    check_servers(config.rollout)
    rank = rank_environment(config.launch, os.environ)
    if rank is not None:
        os.environ.update(rank)
        stop_at_once_when_told()
        return _run_as_rank(config)
    node = this_node(config.launch, os.environ)
    folder = _open_folder(config) if node.is_first else RunFolder(_agreed_path(config))
    status = run_child(_command(folder, config, node), child_environment(config, os.environ))
    if status == ExitStatus.FINISHED and node.is_first:
        print(_table(folder.path), flush=True)
    if status == ExitStatus.USER_ERROR and node.is_first and config.resume is None:
        folder.forget()
    return status


def _examine(config: RunConfig) -> int:
    """Tries the run out with the ranks of this machine, in a folder that is gone afterwards."""
    if rank_environment(config.launch, os.environ) is not None:
        raise UserError(
            "task: must not be doctor for ranks of torchrun or srun, got doctor; start it once, without them"
        )
    here = config.launch.model_copy(update={"num_nodes": 1, "rendezvous": None})
    findings = Findings()
    with trial_folder(config) as (path, finding):
        findings.add(finding)
        trial = config.model_copy(update={"output_dir": str(path), "resume": None, "force": False, "launch": here})
        command = _command(RunFolder.create(path, trial), trial, this_node(here, os.environ))
        status = run_child(command, child_environment(trial, os.environ))
    return status or findings.status


def _table(path: Path) -> str:
    return render(result_table([path])).rstrip()


def _command(folder: RunFolder, config: RunConfig, node: Node) -> list[str]:
    """What `__main__` takes apart."""
    command = [sys.executable, "-m", "tsallis_run.launch", str(folder.path)]
    if config.resume is not None:
        command += ["--resume"]
    if config.launch.num_ranks > 1:
        command += ["--ranks", str(node.num_processes)]
    if node.rendezvous is not None:
        command += ["--nodes", str(node.num_nodes), "--rendezvous", node.rendezvous]
        command += ["--first"] if node.is_first else []
    return command


def _open_folder(config: RunConfig) -> RunFolder:
    is_new = config.resume is None and config.output_dir is None and config.launch.num_nodes == 1
    return open_run(_new_folder(config, datetime.now()) if is_new else _agreed_path(config), config)


def _agreed_path(config: RunConfig) -> Path:
    """The folder of a run whose processes were not all started by this one."""
    path = config.resume or config.output_dir
    if path is None:
        raise UserError(
            "output_dir: must be set where several machines, torchrun or srun start the ranks (they share one "
            "folder), got null; set output_dir=..."
        )
    return Path(path)


def _new_folder(config: RunConfig, now: datetime) -> Path:
    """Makes outputs/<date>/<time>-<estimator>-q<q>-<dataset>, numbered where several start in one second."""
    q = "" if config.q_label is None else "-q" + re.sub(r"[^\w.]+", "-", config.q_label)
    what = "evaluate" if config.task == "evaluate" else f"{config.estimator.name}{q}"
    name = f"{now:%H-%M-%S}-{what}-{config.dataset.name}"
    number = 1
    while True:
        path = Path("outputs", f"{now:%Y-%m-%d}", name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return path


def _run_as_rank(config: RunConfig) -> int:
    """The run of a process that torchrun or srun has started: rank 0 opens the folder for all."""
    path = _agreed_path(config)
    started = {**config.launch.model_dump(), **size_of_group(os.environ)}
    config = validate({**config.model_dump(), "output_dir": str(path), "launch": started})
    is_first = os.environ["RANK"] == "0"
    if is_first:
        _open_folder(config)
    os.environ.update(child_environment(config, os.environ))
    try:
        return work(config, RunFolder(path))
    except UserError:
        if is_first and config.resume is None:
            RunFolder(path).forget()
        raise
