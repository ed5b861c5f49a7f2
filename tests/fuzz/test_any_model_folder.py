"""Model folders and GGUF files that are cut, spoiled or of strange content: opened, or told in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fuzz.conftest import FUZZ, LINE, Count
from hypothesis import given, settings
from hypothesis import strategies as st
from policy.test_model_folder import write_gguf
from small import run_config

from tsallis_run.inputs import read_inputs
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.policy.token_scorer import load_scorer
from tsallis_run.types import UserError

FILES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
DATA = ("dataset.num_train=8", "dataset.num_validation=2", "dataset.num_test=2")
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 100), st.floats(), st.text(max_size=6), st.just([]), st.just({"a": 1})
)


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in a folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return model_folder(run_config(*DATA).model, seed=0)


def opened(path: Path) -> str:
    """What is said where a run over it cannot start; "" where it can."""
    config = run_config(*DATA, "model.architecture=null", "model.path=x")
    config = config.model_copy(update={"model": config.model.model_copy(update={"path": str(path)})})
    try:
        folder = model_folder(config.model, seed=0)
        read_inputs(config, folder)
        load_scorer(folder, config.model)
    except UserError as error:
        return str(error)
    return ""


def check(path: Path, kind: str, count: Count) -> str:
    message = opened(path)
    count(kind, "refused" if message else "accepted")
    assert not message or (LINE.fullmatch(message) and message.startswith("model."))
    return message


def test_a_whole_folder_is_accepted(whole: Path, count: Count) -> None:
    assert check(whole, "model folders", count) == ""


@pytest.mark.parametrize("name", FILES)
def test_a_folder_with_a_file_lost_or_cut_is_told(name: str, whole: Path, tmp_path: Path, count: Count) -> None:
    folder = tmp_path / "spoiled"
    shutil.copytree(whole, folder)
    (folder / name).unlink()
    assert check(folder, "model folders", count)
    content = (whole / name).read_bytes()

    @settings(FUZZ, max_examples=8)
    @given(st.integers(0, len(content) - 2))
    def fuzz(length: int) -> None:
        (folder / name).write_bytes(content[:length])
        message = check(folder, "model folders", count)
        assert message or name == "chat_template.jinja"  # text may be whole at any place

    fuzz()


@pytest.mark.parametrize("name", FILES)
def test_a_folder_with_strange_bytes_is_told_or_opened(name: str, whole: Path, tmp_path: Path, count: Count) -> None:
    folder = tmp_path / "spoiled"
    shutil.copytree(whole, folder)
    content = (whole / name).read_bytes()

    @settings(FUZZ, max_examples=12)
    @given(st.integers(0, min(len(content), 4000) - 1), st.binary(min_size=1, max_size=4))
    def fuzz(place: int, inserted: bytes) -> None:
        (folder / name).write_bytes(content[:place] + inserted + content[place + len(inserted) :])
        check(folder, "model folders", count)

    fuzz()


def test_any_value_in_config_json_is_told_or_opened(whole: Path, tmp_path: Path, count: Count) -> None:
    folder = tmp_path / "spoiled"
    shutil.copytree(whole, folder)
    content = json.loads((whole / "config.json").read_text())

    @settings(FUZZ, max_examples=60)
    @given(st.sampled_from(sorted(content)), JUNK)
    def fuzz(key: str, junk: object) -> None:
        (folder / "config.json").write_text(json.dumps(content | {key: junk}))
        check(folder, "model folders", count)

    fuzz()


def test_a_gguf_file_that_is_cut_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: Count) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "small.gguf"
    write_gguf(file)
    content = file.read_bytes()

    @settings(FUZZ, max_examples=25)
    @given(st.integers(0, len(content) - 100))
    def fuzz(length: int) -> None:
        file.write_bytes(content[:length])
        assert check(file, "GGUF files", count)
        assert list((tmp_path / "cache" / "tsallis-run" / "models").iterdir()) == []

    fuzz()
