"""What a rank does: the task of its run, with an exit status for whatever comes of it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Mapping
from typing import NoReturn

from tsallis_run.config import RunConfig, validate
from tsallis_run.tracking.records import RunFolder
from tsallis_run.types import ExitStatus, UserError

FIRST_WORD_SECONDS = 5
"""More than the launcher of the ranks takes to notice that one has died, and to end the others."""


def read_run(folder: RunFolder, *, resume: bool, group: Mapping[str, int] | None = None) -> RunConfig:
    """The configuration of the run that lies in `folder`; `group` says how many ranks run it now, where that is given.

    Raises:
        UserError: where no run lies there, or its config.yaml is not valid any more.
    """
    data = folder.read_config()
    where = {"output_dir": str(folder.path), "resume": str(folder.path) if resume else None}
    return validate({**data, **where, "launch": {**data.get("launch", {}), **(group or {})}})


def work(config: RunConfig, folder: RunFolder) -> int:
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
        leave(error)


def leave(error: Exception) -> NoReturn:
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
