"""How a run ends: what its records say of it, and what the terminal says of going on."""

from __future__ import annotations

import sys
from contextlib import suppress

from tsallis_run import ranks
from tsallis_run.complaint import first_line
from tsallis_run.config import RunConfig
from tsallis_run.parts import Parts
from tsallis_run.policy.checkpoint import Position
from tsallis_run.tracking.records import Results, RunFolder, write_results
from tsallis_run.types import DiskError, ExitStatus, GaveUpError


def finish(parts: Parts, position: Position, test: dict[str, float]) -> ExitStatus:
    """Closes the records of a run that did all it was to do; collective."""
    return _close(parts, _results(parts.config, ExitStatus.FINISHED, position, test=test), ExitStatus.FINISHED)


def stopped(parts: Parts, position: Position) -> ExitStatus:
    """Closes the records of a run that was told to stop, and is saved; collective."""
    parts.records.note(f"stopped after step {position.step}; to go on: tsallis-run resume={parts.folder.path}")
    return _close(parts, _results(parts.config, ExitStatus.STOPPED, position), ExitStatus.STOPPED)


def fail(parts: Parts, position: Position, reason: str) -> ExitStatus:
    """Closes the records of a run that failed for a reason that needs no traceback; collective."""
    with suppress(DiskError):
        _close(parts, _results(parts.config, ExitStatus.FAILED, position, reason=reason), ExitStatus.FAILED)
    _tell_failure(parts.folder, f"after step {position.step}", reason)
    return ExitStatus.FAILED


def record_crash(parts: Parts, position: Position, error: Exception) -> None:
    """Closes this rank's records of a run that ends by an error that nobody expected."""
    with suppress(OSError):
        parts.records.finish(
            _results(parts.config, ExitStatus.FAILED, position, reason=_reason(error)), ExitStatus.FAILED
        )


def fail_to_start(config: RunConfig, folder: RunFolder, error: Exception, place: str = "at its start") -> ExitStatus:
    """Records a run that has no position yet: its parts could not be built, or it was not to train.

    Raises:
        Exception: `error`, unless it is one whose reason needs no traceback.
    """
    is_plain = isinstance(error, GaveUpError | DiskError)
    reason = str(error) if is_plain else _reason(error)
    if ranks.is_first():
        with suppress(OSError):
            write_results(folder, _results(config, ExitStatus.FAILED, None, reason=reason))
    if not is_plain:
        raise error
    _tell_failure(folder, place, reason)
    return ExitStatus.FAILED


def _close(parts: Parts, results: Results, status: ExitStatus) -> ExitStatus:
    ranks.agreed(lambda: parts.records.finish(results, status))
    return status


def _tell_failure(folder: RunFolder, place: str, reason: str) -> None:
    if ranks.is_first():
        remedy = f"to go on: tsallis-run resume={folder.path}"
        print(f"tsallis-run: failed {place}: {reason}; {remedy}", file=sys.stderr, flush=True)


def _results(
    config: RunConfig,
    status: ExitStatus,
    position: Position | None,
    *,
    test: dict[str, float] | None = None,
    reason: str | None = None,
) -> Results:
    return Results.of(
        config,
        status=status.name.lower(),
        best_step=position.best_step if position else None,
        validation=position.best_validation if position else {},
        test=test or {},
        reason=reason,
    )


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
