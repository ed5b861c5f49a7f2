"""safetensors files: what goes wrong with them, in the words of Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open


@contextmanager
def disk_faults() -> Iterator[None]:
    """While tensors are written: an OSError stays one, where safetensors would wrap it up."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(str(error)) from None


def check_tensors(file: Path) -> None:
    """Reads the header of a file, which says how long it must be.

    Raises:
        ValueError: where it is missing, cut short or no such file.
    """
    try:
        with safe_open(file, "pt"):
            pass
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{file.name}: {error}") from None
