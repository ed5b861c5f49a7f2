"""Contenders in processes of their own that take their steps on command, all in one run on one machine.

A contender is a command that prints one JSON object when it is ready and one more for every line it reads.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tsallis_run.launch.environment import KEEP_MEMORY

Numbers = Mapping[str, float]
MARK = "#numbers "
"""Before every object; whatever else a contender's libraries print is passed over."""
AS_A_RANK = ("env", f"GLIBC_TUNABLES={KEEP_MEMORY}", sys.executable)
"""Starts Python with memory kept as a run of this program has its ranks keep it."""


def medians(contenders: Mapping[str, Sequence[str]], num_steps: int, num_warm_up: int) -> dict[str, Numbers]:
    """Median numbers of the steps of every contender, one contender after the other, each with the machine to itself.

    Its first steps are left out: a process takes its memory in them. A contender that waits for its turn would not do:
    the machine may put its memory aside meanwhile, and its next step would pay for it.
    """
    found = {}
    for name, command in contenders.items():
        with _started(command) as step:
            taken = [step() for _ in range(num_warm_up + num_steps)]
        print(f"{name}: {'; '.join(_brief(row) for row in taken)}", file=sys.stderr, flush=True)
        found[name] = _medians(taken[num_warm_up:])
    return found


def answer(step: Callable[[], Numbers]) -> None:
    """The contender's side: takes a step for every line that comes in."""
    say({})
    for _ in sys.stdin:
        say({**step(), "peak_gb": peak_gb()})


def peak_gb() -> float:
    """The most memory that this process has held, in 1e9 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def machine() -> str:
    """The machine in a line, for tables."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    model = names[0] if names else platform.processor()
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {platform.system()}, Python {platform.python_version()}"


@contextmanager
def _started(command: Sequence[str]) -> Iterator[Callable[[], Numbers]]:
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if os.environ.get("LOUD") else subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    lines = iter(child.stdout)

    def heard() -> dict[str, Any]:
        for line in lines:
            if line.startswith(MARK):
                numbers: dict[str, Any] = json.loads(line.removeprefix(MARK))
                return numbers
        raise SystemExit(f"ended before its step, set LOUD=1 to see why: {' '.join(command)}")

    def step() -> Numbers:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
        return heard()

    try:
        heard()
        yield step
    finally:
        child.stdin.close()
        child.wait()


def say(numbers: Numbers) -> None:
    """One object for whoever gave the command."""
    print(f"\n{MARK}{json.dumps(numbers)}", flush=True)


def _medians(rows: Sequence[Numbers]) -> Numbers:
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def _brief(numbers: Numbers) -> str:
    return " ".join(f"{name} {value:.3g}" for name, value in numbers.items())
