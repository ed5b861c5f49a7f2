"""Run folders in whatever state, and what is read from them."""

from __future__ import annotations

import pytest
from run_folders import configured, finished, logged, scores, train_row, validation_row

from tsallis_run.report import result_table
from tsallis_run.tracking.records import RunFolder
from tsallis_run.types import UserError


def unfinished(folder, majs=()):
    """A run that still goes on, or was killed: a configuration, and rows with a validation every 50 steps."""
    rows = [[train_row(50 * index + 1, loss=0.5), validation_row(50 * index, maj)] for index, maj in enumerate(majs)]
    return logged(configured(folder), [row for pair in rows for row in pair])


def test_an_unfinished_run_shows_its_best_validation_so_far(tmp_path):
    (row,) = result_table([unfinished(tmp_path / "run", majs=(0.125, 0.5, 0.25, 0.5))])
    assert (row.results.status, row.results.best_step, row.results.q) == ("unfinished", 50, None)
    assert row.results.validation == scores(0.5)
    assert row.validations == [(0, 0.125), (50, 0.5), (100, 0.25), (150, 0.5)]


def test_a_run_that_has_only_begun_has_a_row_too(tmp_path):
    (row,) = result_table([configured(tmp_path / "run")])
    assert (row.results.status, row.results.best_step, row.results.validation) == ("unfinished", None, {})
    assert row.metrics == ()


def test_a_last_line_that_was_cut_costs_that_line_only(tmp_path):
    folder = unfinished(tmp_path / "run", majs=(0.125, 0.5))
    with RunFolder(folder).metrics.open("a") as file:
        file.write('{"step": 100, "split": "valid')
    (row,) = result_table([folder])
    assert row.validations == [(0, 0.125), (50, 0.5)]


def test_a_run_collapsed_where_its_last_validation_is_below_half_of_its_best(tmp_path):
    unfinished(tmp_path / "a", majs=(0.0, 0.5, 0.24))
    unfinished(tmp_path / "b", majs=(0.0, 0.5, 0.26))
    assert [row.collapsed for row in result_table([tmp_path])] == [True, False]


def test_runs_are_found_at_any_depth_and_once_but_not_inside_a_run(tmp_path):
    run = finished(tmp_path / "sweep" / "deep" / "point", seed=1)
    finished(run / "wandb" / "files", seed=2)
    finished(tmp_path / "sweep" / ".hidden", seed=3)
    rows = result_table([tmp_path, tmp_path / "sweep", run])
    assert [row.results.seed for row in rows] == [1]


def test_a_run_that_another_took_the_place_of_is_shown_only_by_its_own_name(tmp_path):
    aside = RunFolder(finished(tmp_path / "q-1", seed=1))
    aside.set_aside()
    finished(tmp_path / "q-1", seed=2)
    assert [row.results.seed for row in result_table([tmp_path])] == [2]
    assert [row.results.seed for row in result_table([tmp_path / "q-1.attempt-1"])] == [1]


def test_rows_are_ordered_by_estimator_q_and_seed(tmp_path):
    for name, estimator, q, seed in (
        ("a", "paft", 0.75, 1),
        ("b", "paft", 0.75, 0),
        ("c", "paft", 0.0, 0),
        ("d", "grpo", None, 0),
        ("e", "garl", 1.0, 0),
    ):
        finished(tmp_path / name, estimator=estimator, q=q, seed=seed)
    assert "".join(row.folder.name for row in result_table([tmp_path])) == "edcba"


def test_a_schedule_of_q_is_told_in_words_behind_the_numbers(tmp_path):
    finished(tmp_path / "a", q="1->0 step at 200", estimator="grpo", start="warm")
    finished(tmp_path / "b", q=1.0, estimator="grpo", start="warm")
    configured(tmp_path / "c", q={"kind": "linear", "start": 1.0, "end": 0.25, "num_steps": 9})
    assert [row.results.q for row in result_table([tmp_path])] == [1.0, "1->0 step at 200", "1->0.25 linear over 9"]


def test_a_run_that_only_evaluated_is_not_taken_for_its_estimator(tmp_path):
    configured(finished(tmp_path / "run", estimator="paft"), task="evaluate", estimator__name="paft", q=0.75)
    (row,) = result_table([tmp_path])
    assert (row.results.estimator, row.results.q) == ("evaluation", None)


def test_a_configuration_that_is_not_a_runs_is_named(tmp_path):
    (tmp_path / "config.yaml").write_text("estimator: {name: paft}\n")
    with pytest.raises(UserError, match=r"config\.yaml: must be the configuration of a run, got no 'q'"):
        result_table([tmp_path])
