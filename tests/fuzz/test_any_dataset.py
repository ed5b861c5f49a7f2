"""Official files with anything wrong in them: file, row and field are told, or the row is left out and counted."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from fuzz.conftest import FUZZ, LINE, Count
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from small import run_config

from tsallis_run.config import DatasetConfig
from tsallis_run.data import load_splits
from tsallis_run.types import UserError

NUM_ROWS = 8


def finqa(i: int) -> dict[str, Any]:
    qa = {"question": "?", "answer": "1"}
    return {"id": f"r{i}", "pre_text": ["a"], "post_text": [], "table": [["x", "1"]], "qa": qa}


def gsm8k(i: int) -> dict[str, Any]:
    return {"question": f"how many in {i}?", "answer": f"Count.\n#### {i}"}


def hotpotqa(i: int) -> dict[str, Any]:
    context = [["Ada", ["She wrote.", " More."]], ["Bob", ["He did not."]]]
    return {"_id": f"r{i}", "question": "who?", "answer": "Ada", "context": context, "supporting_facts": [["Ada", 0]]}


def musique(i: int) -> dict[str, Any]:
    paragraph = {"title": "Ada", "paragraph_text": "She wrote.", "is_supporting": True}
    row = {"id": f"r{i}", "question": "who?", "answer": "Ada", "answer_aliases": ["A."], "paragraphs": [paragraph]}
    return {**row, "answerable": True}


DATASETS = {
    "finqa": (finqa, ["train", "dev", "test"]),
    "gsm8k": (gsm8k, ["train", "test"]),
    "hotpotqa": (hotpotqa, ["hotpot_train_v1.1", "hotpot_dev_distractor_v1"]),
    "musique": (musique, ["musique_ans_v1.0_train", "musique_ans_v1.0_dev"]),
}

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.text(st.characters(categories=["Cs", "Cc", "Zl", "Zs"]), min_size=1, max_size=4),
    st.sampled_from(["", " ", "x" * 10**6, "r1", "####", "#### ", "\ud800", "\0", "</think>"]),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=4)), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=3),
    st.just([[["deep"]]]),
)


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a nested row where something stands."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in inner for place in [(*above, key), *places(item, (*above, key))]]


def spoiled(row: dict[str, Any], place: tuple[Any, ...], how: str, junk: Any) -> Any:
    row = copy.deepcopy(row)
    target: Any = row
    for key in place[:-1]:
        target = target[key]
    if how == "lose":
        del target[place[-1]]
    else:
        target[place[-1]] = junk
    return row


def read(name: str, path: Path) -> Any:
    values = run_config(f"dataset={name}").dataset.model_dump() | {"path": str(path)}
    values |= {"validation_fraction": 0.4} if name == "gsm8k" else {}
    return load_splits(TypeAdapter(DatasetConfig).validate_python(values), seed=0)


def check(name: str, path: Path, spoiled_file: str, num_rows: int | None, count: Count) -> str:
    """Reads the folder: a message of one line that names the file, or every row is in a split or counted."""
    try:
        splits = read(name, path)
    except UserError as error:
        count(f"{name} files", "refused")
        message = str(error)
        assert LINE.fullmatch(message)
        assert message.startswith("dataset.")
        assert spoiled_file in message or "every split must keep" in message or "ids must be unique" in message
        return message
    examples = [*splits.train, *splits.validation, *splits.test]
    assert len({example.id for example in examples}) == len(examples)
    assert all(answer.strip() for example in examples for answer in example.golds)
    assert num_rows is None or len(examples) + sum(splits.dropped.values()) == num_rows
    count(f"{name} files", "left out and counted" if splits.dropped else "accepted")
    return ""


def write_good(name: str, folder: Path) -> list[dict[str, Any]]:
    """The files of a release, with rows enough for every split; returns the last one's rows."""
    row, stems = DATASETS[name]
    for number, stem in enumerate(stems):
        rows = [row(i) for i in range(100 * number, 100 * number + NUM_ROWS)]
        (folder / f"{stem}.json").write_text(json.dumps(rows))
    return rows


@pytest.mark.parametrize("name", DATASETS)
def test_any_value_in_any_field_is_told_or_counted(name: str, tmp_path: Path, count: Count) -> None:
    rows, (row, stems) = write_good(name, tmp_path), DATASETS[name]
    file = tmp_path / f"{stems[-1]}.json"

    @settings(FUZZ, max_examples=90)
    @given(st.sampled_from(places(row(0))), st.sampled_from(["lose", "replace", "replace", "replace"]), JUNK)
    def fuzz(place: tuple[Any, ...], how: str, junk: Any) -> None:
        lines = [json.dumps(item) for item in [*rows[:2], spoiled(rows[2], place, how, junk), *rows[3:]]]
        file.write_text("\n".join(lines))
        message = check(name, tmp_path, file.name, len(stems) * NUM_ROWS, count)
        if "must hold" in message or "lacks the field" in message:
            assert f"row 3 of {file.name}" in message
            assert str(place[0]) in message or place[0] in ("_id", "qa")

    fuzz()


@pytest.mark.parametrize("name", DATASETS)
def test_any_bytes_in_a_file_are_told(name: str, tmp_path: Path, count: Count) -> None:
    write_good(name, tmp_path)
    _, stems = DATASETS[name]
    file = tmp_path / f"{stems[-1]}.json"
    whole = file.read_bytes()
    places = st.integers(0, len(whole))

    @settings(FUZZ, max_examples=60)
    @given(
        places,
        places,
        st.one_of(st.binary(max_size=4), st.sampled_from([b"NaN", b"Infinity", b"\xff", b"\0", b"[" * 9999])),
    )
    def fuzz(start: int, end: int, inserted: bytes) -> None:
        file.write_bytes(whole[: min(start, end)] + inserted + whole[max(start, end) :])
        check(name, tmp_path, file.name, None, count)

    fuzz()


WRONG_FILES = {
    "nothing": b"",
    "blank": b" \n\n",
    "empty list": b"[]",
    "null rows": b"[null]",
    "lists for rows": b"[[1], [2]]",
    "a number": b"7",
    "one object around the rows": b'{"data": []}',
    "thousands of brackets": b"[" * 100_000,
    "a number of 5000 digits": b'{"id": ' + b"1" * 5000 + b"}",
    "UTF-16": '{"id": "x"}'.encode("utf-16"),
    "comma separated": b"id,question\n1,2\n",
    "not a number": b'[{"id": NaN}]',
    "keys of strange signs": b'{"a\\nb": 1, "\\ud800": 2}',
}


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize("name", DATASETS)
def test_a_file_that_holds_something_else_is_told(name: str, suffix: str, tmp_path: Path, count: Count) -> None:
    write_good(name, tmp_path)
    stem = DATASETS[name][1][-1]
    (tmp_path / f"{stem}.json").unlink()
    file = tmp_path / f"{stem}{suffix}"
    for content in WRONG_FILES.values():
        file.write_bytes(content)
        assert re.match("dataset.path: ", check(name, tmp_path, file.name, None, count))


@pytest.mark.parametrize("name", DATASETS)
def test_a_folder_without_its_files_and_an_id_that_comes_twice_are_told(
    name: str, tmp_path: Path, count: Count
) -> None:
    assert "without" in check(name, tmp_path, str(tmp_path), None, count)
    rows = write_good(name, tmp_path)
    file = tmp_path / f"{DATASETS[name][1][-1]}.json"
    file.write_text(json.dumps([*rows, rows[0]]))
    message = check(name, tmp_path, file.name, None, count)
    assert ("ids must be unique" in message) == (name != "gsm8k")  # whose id is the place in the file
