"""What is written is there whole, and what it replaces is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsallis_run.disk import point, publish, write_atomically


def test_a_file_is_replaced_in_one_stroke(tmp_path: Path) -> None:
    for text in ("old", "new"):
        write_atomically(tmp_path / "file", text)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "new")]


def test_text_that_cannot_be_written_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(tmp_path / "file", "\ud800")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


def test_a_folder_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / "unfinished" / "inner").mkdir(parents=True)
        (tmp_path / "unfinished" / "inner" / name).touch()
        publish(tmp_path / "unfinished", tmp_path / "target")
    assert [path.name for path in (tmp_path / "target" / "inner").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_link_moves_from_one_neighbour_to_another_also_with_its_folder(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for name in ("one", "two"):
        (here / name).mkdir(parents=True)
        point(here / "link", here / name)
        assert (here / "link").resolve() == here / name
    here.rename(there)
    assert (there / "link").resolve() == there / "two"
