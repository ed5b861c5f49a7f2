"""One run in processes of its own.

    tsallis-run ...            launch(config), which starts one of
        python -m tsallis_run.launch RUN_FOLDER              the one rank
        python -m tsallis_run.launch RUN_FOLDER --ranks N    N ranks on this machine, perhaps of several
    torchrun ... tsallis-run   launch(config), which is itself a rank; so are several tasks of srun

The command's own process stays light: torch, vLLM and DeepSpeed are imported in the ranks only.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import shlex
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from tsallis_run.config import RunConfig, validate
from tsallis_run.doctor.findings import Findings
from tsallis_run.doctor.place import trial_folder
from tsallis_run.elastic import run_ranks
from tsallis_run.engine.server.presence import check_servers
from tsallis_run.nodes import Node, rank_environment, size_of_group, this_node
from tsallis_run.processes import run_child, stop_at_once_when_told
from tsallis_run.report import render, result_table
from tsallis_run.resume import is_over, open_run
from tsallis_run.tracking.records import RunFolder
from tsallis_run.types import ExitStatus, UserError

KEEP_MEMORY = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184"
"""On CPU machines a step asks for gigabytes: glibc keeps what is freed for the next one, and takes it in huge pages."""

FIRST_WORD_SECONDS = 5
"""More than the launcher of the ranks takes to notice that one has died, and to end the others."""


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


def read_run(folder: RunFolder, *, resume: bool, group: Mapping[str, int] | None = None) -> RunConfig:
    """The configuration of the run that lies in `folder`; `group` says how many ranks run it now, where that is given.

    Raises:
        UserError: where no run lies there, or its config.yaml is not valid any more.
    """
    data = folder.read_config()
    where = {"output_dir": str(folder.path), "resume": str(folder.path) if resume else None}
    return validate({**data, **where, "launch": {**data.get("launch", {}), **(group or {})}})


def print_mistake(error: UserError) -> None:
    """Shows a user's mistake on standard error, a line per fault."""
    for line in str(error).splitlines():
        print(f"tsallis-run: {line}", file=sys.stderr)


def child_environment(config: RunConfig, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` with what the ranks need: their share of the cores, quiet libraries, the user's command."""
    return {
        **environment,
        "OMP_NUM_THREADS": str(_threads_per_process(config, environment)),
        "GLIBC_TUNABLES": environment.get("GLIBC_TUNABLES", KEEP_MEMORY),
        "TOKENIZERS_PARALLELISM": "false",
        "WANDB_SILENT": "true",
        "VLLM_LOGGING_LEVEL": environment.get("VLLM_LOGGING_LEVEL", "ERROR"),
        "TORCH_CPP_LOG_LEVEL": environment.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
        "TSALLIS_RUN_COMMAND": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _threads_per_process(config: RunConfig, environment: Mapping[str, str]) -> int:
    wanted = config.launch.threads_per_process or int(environment.get("OMP_NUM_THREADS") or 0)
    return wanted or max(1, _num_cores() // config.launch.num_processes)


def _num_cores() -> int:
    """Those this process may use, where the system tells: a cluster gives a job fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _table(path: Path) -> str:
    return render(result_table([path])).rstrip()


def _command(folder: RunFolder, config: RunConfig, node: Node) -> list[str]:
    """What `main` takes apart."""
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
        return _work(config, RunFolder(path))
    except UserError:
        if is_first and config.resume is None:
            RunFolder(path).forget()
        raise


def _work(config: RunConfig, folder: RunFolder) -> int:
    """What a rank does; the heavy imports happen here."""
    _quieten_libraries()
    try:
        if config.task == "evaluate":
            from tsallis_run.evaluate_only import evaluate_only

            return evaluate_only(config, folder)
        if config.task == "doctor":
            from tsallis_run.doctor.examination import examine

            return examine(config, folder)
        from tsallis_run.train import train

        return train(config, folder)
    except UserError:
        raise
    except Exception as error:
        if "RANK" not in os.environ:
            print(f"tsallis-run: {''.join(traceback.format_exception(error))}", end="", file=sys.stderr)
            return ExitStatus.FAILED
        _leave(error)


def _leave(error: Exception) -> NoReturn:
    """Ends one of several ranks, with its traceback.

    One that lost contact to the others leaves the first word to the one that died: their launcher ends it meanwhile.
    Libraries that would tidy up at the end of Python might wait for the others, who wait for this rank's end.
    """
    from tsallis_run import ranks

    if ranks.lost_contact(error):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(FIRST_WORD_SECONDS)
    told = "".join(traceback.format_exception(error))
    print(f"tsallis-run: rank {os.environ['RANK']}: {told}", end="", file=sys.stderr, flush=True)
    os._exit(ExitStatus.FAILED)


def _quieten_libraries() -> None:
    """Leaves the terminal to the run: warnings meant for the libraries' own developers, bars of half a second."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    logging.getLogger("vllm").setLevel(logging.ERROR)
    logging.getLogger("DeepSpeed").addFilter(lambda record: record.levelno >= logging.ERROR)
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def main(arguments: Sequence[str]) -> int:
    """`python -m tsallis_run.launch RUN_FOLDER [--resume] [--ranks N]`: the process that `launch` starts."""
    parser = argparse.ArgumentParser(prog="python -m tsallis_run.launch")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--ranks", type=int, help="start as many ranks, instead of being one")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--rendezvous")
    parser.add_argument("--first", action="store_true")
    given = parser.parse_args(arguments)
    if given.ranks is not None:
        rank = [sys.executable, "-m", "tsallis_run.launch", str(given.folder)]
        node = Node(given.ranks, given.nodes, given.rendezvous, given.first)
        return run_ranks(rank + (["--resume"] if given.resume else []), node)
    stop_at_once_when_told()
    folder = RunFolder(given.folder)
    try:
        return _work(read_run(folder, resume=given.resume, group=size_of_group(os.environ)), folder)
    except UserError as error:
        print_mistake(error)
        return ExitStatus.USER_ERROR


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
