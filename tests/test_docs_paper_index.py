"""docs/paper-index.md is complete, and every file that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "paper-index.md").read_text()
MARK = "not stated in the paper"


def test_every_equation_algorithm_theorem_table_and_figure_stands_on_the_page() -> None:
    named = {
        *("eq. 1,", "eq. 2,", "eq. 5,", "eq. 6,", "eqs. 7-8", "eq. 9,", "10-12", "eqs. 13-14", "eq. 15,"),
        *("algorithm 1", "algorithm 2", "theorem 3.1", "theorems 5.1, 5.2", "theorem 6.1", "proposition C.2"),
        *("Table 1", "Table 2", "Table 3", "Figure 3", "Figure 4"),
    }
    assert {name for name in named if name not in PAGE} == set()


def test_every_file_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`((?:tsallis_run|tests|conf|sweeps|benchmarks)/[\w/.*]+)`", PAGE))
    assert len(named) > 15
    assert [name for name in sorted(named) if not list(ROOT.glob(name))] == []


def test_every_function_that_the_page_names_exists() -> None:
    named = re.findall(r"`(tsallis_run/[\w/]+\.py)`, `(\w+)`", PAGE)
    assert len(named) > 3
    missing = [(file, name) for file, name in named if not re.search(rf"\b{name}\b", (ROOT / file).read_text())]
    assert missing == []


def test_every_sweep_of_the_paper_stands_on_the_page() -> None:
    assert {path.name for path in (ROOT / "sweeps").glob("paper_*.yaml") if f"+sweep={path.stem}" not in PAGE} == set()


def test_every_value_that_the_paper_does_not_state_is_listed() -> None:
    """A line of conf/ carries the mark behind it; the last key of the line is the one it is about."""
    lines = [line for path in ROOT.glob("conf/*/*.yaml") for line in path.read_text().splitlines() if MARK in line]
    keys = [re.findall(r"(\w+):", line.split("#")[0])[-1:] for line in lines]
    unstated = {key for found in keys for key in found}
    assert {"learning_rate", "num_steps", "prompts_per_step", "max_context_chars"} <= unstated
    listed = PAGE.split("## Not stated in the paper")[1].split("## ")[0]
    assert [key for key in sorted(unstated) if key not in listed] == []
    assert "AdamW" in listed
