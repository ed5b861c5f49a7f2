"""Any text as an argument: the command runs what is valid, and tells everything else in lines, without a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import Command
from fuzz.conftest import FUZZ, Count
from fuzz.test_any_configuration import keys
from hypothesis import given, settings
from hypothesis import strategies as st
from small import run_config

from tsallis_run import cli

KEYS = sorted(".".join(path) for path in keys(run_config().model_dump()))
GROUPS = ["model", "dataset", "estimator", "rollout", "zero", "experiment", "+sweep", "hydra", "hydra/launcher", ""]
ARGUMENT_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
VALUE = st.one_of(
    ARGUMENT_TEXT,
    st.sampled_from(["", "null", "~/x", "_base", "../x", "[1,2]", "{a:1}", "1,2", "${x}", "'", "1" * 5000, "[" * 2000]),
    st.integers().map(str),
    st.floats().map(str),
)
ARGUMENT = st.one_of(
    st.builds("{}={}".format, st.sampled_from(KEYS), VALUE),
    st.builds("{}={}".format, st.sampled_from(GROUPS), VALUE),
    st.builds("{}{}={}".format, st.sampled_from(["+", "++", "~", ""]), ARGUMENT_TEXT, VALUE),
    ARGUMENT_TEXT,
).filter(lambda text: not text.startswith("-"))


@settings(FUZZ, max_examples=16)
@given(arguments=st.lists(ARGUMENT, min_size=1, max_size=2))
def test_any_argument_is_run_or_told(
    arguments: list[str],
    count: Count,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "launch", lambda config: 0)
    ended = Command(monkeypatch, capfd)(*arguments)
    count("command line", "accepted" if ended.status == 0 else "refused")
    assert ended.status in (0, 2)
    lines = ended.errors.splitlines()
    assert all(line.startswith("tsallis-run: ") and ":" in line.removeprefix("tsallis-run: ") for line in lines)
    assert bool(lines) == (ended.status == 2)
    assert list(tmp_path.iterdir()) == []
