"""Files and folders that a crash at any instant leaves whole: the old ones or the new ones.

A rename is atomic, and so is what is written to the side before it, once it has been flushed: without that, a machine
that loses its power may find the new name on an empty file.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Writes `text` under a temporary name in the same folder, flushes it and renames it."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8")
        flush(unfinished)
        unfinished.replace(path)
    except (OSError, UnicodeEncodeError):
        unfinished.unlink(missing_ok=True)
        raise
    flush(path.parent)


def publish(unfinished: Path, target: Path) -> None:
    """Flushes a whole folder and renames it; one of that name that lies there is worth less, and goes."""
    for inner, _, files in os.walk(unfinished):
        for name in files:
            flush(Path(inner, name))
        flush(Path(inner))
    if target.exists():
        shutil.rmtree(target)
    unfinished.rename(target)
    flush(target.parent)


def point(link: Path, target: Path) -> None:
    """Makes `link` lead to its neighbour `target`, in one stroke; what leads elsewhere is replaced."""
    fresh = link.with_name(f".{link.name}.unfinished")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target.name)
    fresh.replace(link)
    flush(link.parent)


def flush(path: Path) -> None:
    """Returns once a file, or the list of names in a folder, lies on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
