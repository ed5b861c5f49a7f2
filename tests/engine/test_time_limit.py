"""A call that hangs ends its process."""

from __future__ import annotations

import subprocess
import sys
import time

from tsallis_run.engine.time_limit import time_limit

HANGS = """
import time
from tsallis_run.engine.time_limit import time_limit
with time_limit(0.5):
    time.sleep(60)
"""


def test_a_call_that_hangs_ends_its_process_with_a_trace() -> None:
    start = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, check=False, timeout=50)
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr
    assert time.monotonic() - start < 40


def test_a_call_that_returns_in_time_leaves_no_watchdog_behind() -> None:
    with time_limit(0.2):
        pass
    time.sleep(0.4)
