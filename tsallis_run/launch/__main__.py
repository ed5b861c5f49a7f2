"""`python -m tsallis_run.launch`: one rank of a run, or the process that starts the ranks of a machine."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tsallis_run.complaint import print_mistake
from tsallis_run.launch.elastic import run_ranks
from tsallis_run.launch.nodes import Node, size_of_group
from tsallis_run.launch.processes import stop_at_once_when_told
from tsallis_run.launch.rank import read_run, work
from tsallis_run.tracking.records import RunFolder
from tsallis_run.types import ExitStatus, UserError


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
        return work(read_run(folder, resume=given.resume, group=size_of_group(os.environ)), folder)
    except UserError as error:
        print_mistake(error)
        return ExitStatus.USER_ERROR


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
