"""Where the run would lie: looked at before any rank starts, so nothing heavy is imported here."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tsallis_run.config import RunConfig
from tsallis_run.doctor.findings import Finding, failure

OUTPUTS = Path("outputs")
"""Where runs lie that were given no folder."""


@contextmanager
def trial_folder(config: RunConfig) -> Iterator[tuple[Path, Finding]]:
    """A folder on the disk on which the run would lie, gone when the block ends.

    Yields:
        The folder, and whether one can be written there; if not, it lies among the system's temporary files.
    """
    parent = existing_parent(Path(config.output_dir) if config.output_dir else OUTPUTS)
    try:
        trial = tempfile.TemporaryDirectory(dir=parent, prefix=".doctor-")
        finding = Finding("output", f"{parent.absolute()} can be written")
    except OSError as error:
        trial = tempfile.TemporaryDirectory(prefix="tsallis-run-doctor-")
        text = f"{parent.absolute()} cannot be written ({error.strerror})"
        finding = failure("output", text, "set output_dir to a folder that can")
    with trial as path:
        yield Path(path), finding


def existing_parent(path: Path) -> Path:
    """The innermost folder on the way to `path` that is there."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
