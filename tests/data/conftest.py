"""Small rows in the official schemas, written where the loaders look for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import yaml
from pyarrow import parquet
from pydantic import TypeAdapter
from small import run_config

from tsallis_run.config import DatasetConfig

Row = dict[str, Any]
Configure = Callable[..., Any]
WriteFolder = Callable[[Mapping[str, Sequence[Row]]], Path]


@pytest.fixture
def configure() -> Configure:
    """conf/dataset/NAME.yaml with changes, validated."""

    def configure(name: str, **changes: object) -> DatasetConfig:
        values = run_config(f"dataset={name}").dataset.model_dump() | changes
        values = {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}
        return TypeAdapter(DatasetConfig).validate_python(values)

    return configure


@pytest.fixture
def write_folder(tmp_path: Path) -> WriteFolder:
    """A folder of official files: .jsonl holds one object a line, .json a list, .parquet a table."""

    def write(files: Mapping[str, Sequence[Row]]) -> Path:
        folder = tmp_path / "official"
        folder.mkdir()
        for name, rows in files.items():
            path = folder / name
            if path.suffix == ".parquet":
                parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
            elif path.suffix == ".jsonl":
                path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")
            else:
                path.write_text(json.dumps(list(rows), ensure_ascii=False), encoding="utf-8")
        return folder

    return write


@pytest.fixture
def write_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A dataset repository on disk, as `load_dataset` takes it instead of a hub id."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def write(files: Mapping[str, Sequence[Row]], card: Row | None = None) -> Path:
        repository = tmp_path / "repository"
        for name, rows in files.items():
            path = repository / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".parquet":
                parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
            else:
                path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        if card is not None:
            (repository / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
        return repository

    return write
