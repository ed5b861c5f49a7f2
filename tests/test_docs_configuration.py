"""docs/configuration.md is what docs/configuration.py writes: every key of a run, with its values and its meaning."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tsallis_run.config import RunConfig
from tsallis_run.config.validation import _paths

DOCS = Path(__file__).parent.parent / "docs"
CHOSEN_BY_CONF = ("q.",)
"""Keys below a value that conf/ sets as a whole."""


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("configuration_page", DOCS / "configuration.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where its dataclasses look for their module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(writer: ModuleType) -> None:
    assert (DOCS / "configuration.md").read_text() == writer.page(), "run `python docs/configuration.py`"


def leaves() -> Iterator[str]:
    """Every key of the schema that holds a value."""
    paths = sorted(set(_paths(RunConfig)))
    for path in paths:
        holds_keys = any(other.startswith(f"{path}.") for other in paths)
        if not holds_keys and not path.startswith(CHOSEN_BY_CONF):
            yield path


def test_every_key_of_the_schema_stands_on_the_page(writer: ModuleType) -> None:
    page = writer.page()
    assert [path for path in leaves() if f"| `{path}` |" not in page] == []


def test_ranges_and_choices_come_from_the_schema_and_meanings_from_the_comments(writer: ModuleType) -> None:
    rows = writer.page().splitlines()
    epsilon = "gradients far below it do not move Adam: it freezes low q at cold start"
    assert f"| `optimizer.epsilon` | number > 0 | `1.0e-8` | {epsilon} |" in rows
    assert (
        "| `loss.length_normalization` | `none`, `sequence`, `token` | by choice | "
        "none \\| sequence \\| token: sums divided by all sampled tokens of the batch |"
    ) in rows
    assert any(row.startswith("| `rollout.block_size` | integer >= 1 | `32` | KV block in tokens;") for row in rows)
