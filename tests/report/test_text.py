"""The table of runs in the terminal, and as CSV."""

from __future__ import annotations

import csv

import pytest
from run_folders import configured, failed_before_validation, finished, logged, validation_row

from tsallis_run.report import render, result_table
from tsallis_run.report.text import write_csv


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "220")


def cells(text, first_word):
    (line,) = [line for line in text.splitlines() if line.strip().startswith(first_word)]
    return line.split()


def test_a_finished_run_shows_its_choices_and_its_scores_with_intervals(tmp_path):
    text = render(result_table([finished(tmp_path / "run")]))
    heading = "estimator q start dataset seed status best step validation maj@16 test pass@1 test pass@16 test maj@16"
    assert cells(text, "estimator") == heading.split()
    choices = ["paft", "0.75", "cold", "reversal", "0", "finished", "150", "0.500", "[0.400,", "0.600]"]
    assert cells(text, "paft")[:10] == choices
    assert cells(text, "paft")[10:] == ["0.188", "[0.094,", "0.281]", "0.562", "0.375", "[0.275,", "0.475]"]


def test_a_failed_run_has_a_row_with_dashes(tmp_path):
    text = render(result_table([failed_before_validation(tmp_path / "a", q=0.0), finished(tmp_path / "b")]))
    assert cells(text, "garl") == ["garl", "0", "cold", "reversal", "0", "failed", "-", "-", "-", "-", "-"]


def test_a_collapsed_run_is_marked_and_the_mark_explained(tmp_path):
    logged(finished(tmp_path / "run"), [validation_row(0, 0.5), validation_row(150, 0.0)])
    text = render(result_table([tmp_path]))
    assert "150*" in cells(text, "paft")
    assert text.splitlines()[-1].startswith("* peak before collapse")


def test_the_model_is_a_column_only_where_runs_differ_in_it(tmp_path):
    finished(tmp_path / "a")
    assert "model" not in render(result_table([tmp_path]))
    finished(tmp_path / "b", model="smollm2_135m")
    text = render(result_table([tmp_path]))
    assert "model" in text
    assert "smollm2_135m" in text


def test_runs_with_other_numbers_of_samples_have_columns_of_their_own(tmp_path):
    finished(tmp_path / "a", estimator="garl", num_samples=4)
    finished(tmp_path / "b", estimator="paft", num_samples=16)
    text = render(result_table([tmp_path]))
    assert "test maj@4" in text
    assert "test maj@16" in text
    assert cells(text, "paft").count("-") == 3  # validation maj@4, test pass@4 and test maj@4


def test_a_schedule_of_q_is_shown_in_its_own_words(tmp_path):
    configured(tmp_path / "c", q={"kind": "linear", "start": 1.0, "end": 0.25, "num_steps": 9})
    assert "1->0.25 linear over 9" in render(result_table([tmp_path]))


@pytest.mark.parametrize("columns", [80, 110])
def test_a_narrow_terminal_folds_cells_and_loses_nothing(tmp_path, monkeypatch, columns):
    rows = result_table([finished(tmp_path / "run")])
    wide = render(rows)
    monkeypatch.setenv("COLUMNS", str(columns))
    narrow = render(rows)
    assert max(map(len, narrow.splitlines())) <= columns < max(map(len, wide.splitlines()))
    assert sorted(char for char in narrow if char.isalnum()) == sorted(char for char in wide if char.isalnum())


def test_csv_holds_every_number_unrounded(tmp_path):
    finished(tmp_path / "runs" / "a", maj=1 / 3)
    failed_before_validation(tmp_path / "runs" / "b", q=0.25)
    write_csv(tmp_path / "table.csv", result_table([tmp_path / "runs"]))
    with (tmp_path / "table.csv").open(newline="") as file:
        garl, paft = csv.DictReader(file)
    assert float(paft["validation/maj@16"]) == 1 / 3
    assert float(paft["test/maj@16_low"]) == 1 / 3 - 0.125 - 0.1
    assert (paft["test/num_examples"], paft["status"]) == ("64", "finished")
    assert paft["folder"] == str(tmp_path / "runs" / "a")
    assert (garl["status"], garl["best_step"], garl["test/maj@16"]) == ("failed", "", "")
