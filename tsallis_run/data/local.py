"""Rows from a file: a JSON list, one JSON object a line, or Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tsallis_run.data.rows import Origin, Row
from tsallis_run.types import UserError

SUFFIXES = (".json", ".jsonl", ".parquet")


def read_file(path: Path, *, dataset: str) -> Iterator[Row]:
    """Yields the rows of one file.

    JSON is read with `json`, not Arrow: the official files of FinQA and HotPotQA mix types within a column.

    Raises:
        UserError: for another kind of file, or one that cannot be read.
    """
    origin = Origin(dataset=dataset, setting="dataset.path", name=path.name, stem=path.stem)
    if path.suffix not in SUFFIXES:
        raise UserError(f"dataset.path: must be a folder or a file that ends in {', '.join(SUFFIXES)}, got {path}")
    objects = _parquet_objects(path) if path.suffix == ".parquet" else _json_objects(path)
    for number, fields in objects:
        if not isinstance(fields, dict):
            raise Row({}, number, origin).fault(f"must be an object, got {type(fields).__name__}")
        yield Row(fields, number, origin)


def _json_objects(path: Path) -> Iterator[tuple[int, object]]:
    """Numbered values of a JSON list or of JSON lines: the text says which, some copies carry the other's ending."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"dataset.path: must be a readable UTF-8 file, got {path} ({error})") from None
    if text.lstrip().startswith("["):
        values = _parse(text, path, line=1)
        assert isinstance(values, list), f"JSON text that opens with [ parsed as {type(values)}"
        return enumerate(values, start=1)
    # Not splitlines(): it also cuts at U+2028 and its like, which JSON allows inside a string.
    lines = enumerate(text.split("\n"), start=1)
    return ((number, _parse(line, path, line=number)) for number, line in lines if line.strip())


def _parse(text: str, path: Path, *, line: int) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {line + error.lineno - 1}, column {error.colno}"
        raise UserError(
            f"dataset.path: must be a JSON list or one JSON object a line, got {path.name} with {error.msg} at {place};"
            " mend the file or fetch it again"
        ) from None
    except (RecursionError, ValueError) as error:  # a thousand brackets, a number of 5000 digits
        raise UserError(
            f"dataset.path: must be JSON of ordinary depth and numbers, got {path.name} with {error} "
            f"from line {line} on; mend the file or fetch it again"
        ) from None


def _parquet_objects(path: Path) -> Iterator[tuple[int, object]]:
    import pyarrow
    from pyarrow import parquet

    try:
        batches = parquet.ParquetFile(path).iter_batches()
        yield from enumerate((fields for batch in batches for fields in batch.to_pylist()), start=1)
    except (OSError, ValueError, pyarrow.ArrowException) as error:  # ValueError: text that is no UTF-8
        reason = " ".join(str(error).split())
        raise UserError(
            f"dataset.path: must be a readable Parquet file, got {path} ({reason}); fetch it again"
        ) from None
