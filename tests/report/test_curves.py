"""metrics.jsonl as curves."""

from __future__ import annotations

from run_folders import configured, logged, train_row, validation_row

from tsallis_run.report import result_table
from tsallis_run.report.curves import Curve, majority_names, mean_seconds, train_curve, validation_curve, window_of
from tsallis_run.report.series import by_setting


def series_of(folder, *runs):
    for seed, rows in enumerate(runs):
        logged(configured(folder / str(seed), seed=seed), rows)
    ((series,),) = by_setting(result_table([folder])).values()
    return series


def test_a_curve_is_the_mean_over_seeds_between_the_lowest_and_the_highest(tmp_path):
    first = [train_row(1, ess=2.0), train_row(2, ess=4.0), train_row(3, ess=5.0)]
    second = [train_row(1, ess=4.0), train_row(2, ess=8.0)]  # ended early
    series = series_of(tmp_path, first, second)
    assert train_curve(series, "ess", 1) == Curve((1, 2, 3), (3.0, 6.0, 5.0), (2.0, 4.0, 5.0), (4.0, 8.0, 5.0))


def test_windows_average_over_their_steps(tmp_path):
    series = series_of(tmp_path, [train_row(step, ess=float(step)) for step in range(1, 6)])
    # steps 1-2, 3-4 and the rest
    assert train_curve(series, "ess", 2) == Curve((2, 4, 6), (1.5, 3.5, 5.0), (1.5, 3.5, 5.0), (1.5, 3.5, 5.0))


def test_the_window_keeps_the_longest_run_within_the_number_of_points(tmp_path):
    assert window_of([series_of(tmp_path / "short", [train_row(80)])]) == 1
    assert window_of([series_of(tmp_path / "long", [train_row(81)])]) == 2
    assert window_of([series_of(tmp_path / "none", [])]) == 1


def test_rows_that_lack_a_number_are_passed_over_and_a_number_that_no_row_has_is_no_curve(tmp_path):
    series = series_of(tmp_path, [train_row(1), train_row(2, ess=4.0)])
    assert train_curve(series, "ess", 1) == Curve((2,), (4.0,), (4.0,), (4.0,))
    assert train_curve(series, "reward", 1) is None


def test_validation_of_one_seed_has_its_interval_over_examples_and_of_several_their_range(tmp_path):
    one = series_of(tmp_path / "one", [validation_row(0, 0.25), validation_row(50, 0.5)])
    assert validation_curve(one, "maj@16") == Curve((0, 50), (25.0, 50.0), (15.0, 40.0), (35.0, 60.0))
    two = series_of(tmp_path / "two", [validation_row(0, 0.25)], [validation_row(0, 0.5)])
    assert validation_curve(two, "maj@16") == Curve((0,), (37.5,), (25.0,), (50.0,))


def test_validations_with_other_numbers_of_samples_are_other_curves(tmp_path):
    series = series_of(tmp_path, [validation_row(0, 0.25, 8)], [validation_row(0, 0.5, 16)])
    assert majority_names([series]) == ["maj@8", "maj@16"]
    assert validation_curve(series, "maj@8").mean == (25.0,)
    assert validation_curve(series, "maj@4") is None


def test_seconds_are_means_over_steps_by_phase(tmp_path):
    rows = [train_row(1, generate_seconds=1.0, sync_seconds=0.5), train_row(2, generate_seconds=3.0)]
    assert mean_seconds(series_of(tmp_path / "a", rows)) == {"generate": 2.0, "sync": 0.25}
    assert mean_seconds(series_of(tmp_path / "b", [validation_row(0, 0.5)])) == {}
