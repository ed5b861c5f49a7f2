"""A limit for calls that may hang inside a library, where no exception reaches."""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Ends this process with exit status 1 and the traces of all its threads where the body takes longer.

    Python's own watchdog does it, from a thread that needs no interpreter: the run goes on from its last checkpoint.
    """
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
