"""The result table in the paper's layout."""

from __future__ import annotations

import pytest
from run_folders import configured, finished, logged, validation_row

from tsallis_run.report import result_table
from tsallis_run.report.paper_layout import render_markdown, result_tables, t_interval


def table_of(folder):
    (table,) = result_tables(result_table([folder]))
    return table


def test_estimators_stand_down_and_datasets_across_the_papers_first(tmp_path):
    for dataset in ("gsm8k", "musique", "finqa"):
        finished(tmp_path / dataset, dataset=dataset, estimator="garl")
    finished(tmp_path / "paft", dataset="finqa", estimator="paft")
    table = table_of(tmp_path)
    assert table.title == "tiny, cold start"
    assert [column for column in table.columns if column[1] == "maj@16"] == [
        ("finqa", "maj@16"),
        ("musique", "maj@16"),
        ("gsm8k", "maj@16"),
    ]
    garl, paft = table.lines
    assert (garl.estimator, garl.q, paft.estimator) == ("GARL", "0.75", "PAFT")
    assert [score is None for score in paft.scores] == [False] * 3 + [True] * 6


def test_seeds_are_averaged_with_an_interval_over_seeds_beside_the_one_over_examples(tmp_path):
    for seed, maj in enumerate((0.425, 0.525, 0.625)):  # tests of 0.3, 0.4 and 0.5
        finished(tmp_path / str(seed), seed=seed, maj=maj)
    (line,) = table_of(tmp_path).lines
    score = line.scores[-1]
    assert line.seeds == "3"
    assert score.mean == pytest.approx(0.4)
    assert score.over_examples == pytest.approx((0.3, 0.5))  # each run's bounds are 0.1 off its score
    half_width = 4.303 * 0.1 / 3**0.5  # two degrees of freedom, standard deviation 0.1
    assert score.over_seeds == pytest.approx((0.4 - half_width, 0.4 + half_width))


@pytest.mark.parametrize(
    ("values", "interval"),
    [
        ([0.5], None),
        ([0.0, 0.0], (0.0, 0.0)),
        ([0.0, 1.0], (0.0, 1.0)),  # 0.5 -+ 12.7 * 0.5, cut to what a fraction can be
        ([0.4, 0.6] * 8, (0.5 - 2.228 * 0.0258199, 0.5 + 2.228 * 0.0258199)),  # sd 0.1032796 over sqrt(16)
    ],
)
def test_student_t_intervals_of_few_and_of_many_values(values, interval):
    assert t_interval(values) == (None if interval is None else pytest.approx(interval, abs=1e-6))


def test_a_seed_without_its_test_is_counted_but_not_averaged(tmp_path):
    finished(tmp_path / "a", seed=0)
    configured(tmp_path / "b", seed=1, q=0.75, estimator__name="paft", start__name="cold")
    (line,) = table_of(tmp_path).lines
    assert line.seeds == "1 of 2"
    assert line.scores[-1].over_seeds is None


def test_the_best_of_a_column_is_marked_only_where_there_is_a_choice(tmp_path):
    finished(tmp_path / "a", q=0.5, maj=0.3)
    assert not any(score.is_best for score in table_of(tmp_path).lines[0].scores)
    finished(tmp_path / "b", q=0.75, maj=0.6)
    low, high = table_of(tmp_path).lines
    assert [score.is_best for score in low.scores + high.scores] == [False] * 3 + [True] * 3


def test_a_column_of_zeros_has_no_best(tmp_path):
    for q in (0.5, 0.75):
        finished(tmp_path / str(q), q=q, maj=0.125)
    assert [score.is_best for line in table_of(tmp_path).lines for score in line.scores] == [False] * 6


def test_other_numbers_of_samples_have_columns_of_their_own(tmp_path):
    finished(tmp_path / "a", q=0.5, num_samples=8)
    finished(tmp_path / "b", q=0.75, num_samples=16)
    assert [name for _, name in table_of(tmp_path).columns] == ["pass@1", "pass@8", "maj@8", "pass@16", "maj@16"]


def test_markdown_has_bold_bests_collapses_and_the_papers_numbers(tmp_path):
    choices = {"model": "qwen3_0_6b", "dataset": "hotpotqa", "start": "warm", "estimator": "garl"}
    finished(tmp_path / "a", q=0.25, maj=0.5, **choices)
    logged(finished(tmp_path / "b", q=0.75, maj=0.6, **choices), [validation_row(0, 0.6), validation_row(50, 0.1)])
    lines = render_markdown(result_tables(result_table([tmp_path]))).splitlines()
    assert lines[0] == "## qwen3_0_6b, warm start"
    assert lines[2] == "| estimator | q | seeds | hotpotqa pass@1 | hotpotqa pass@16 | hotpotqa maj@16 |"
    assert lines[4].endswith("| 37.5 [27.5, 47.5] paper 22.9\\* |")
    assert lines[5].endswith("| **47.5**\\* [37.5, 57.5] paper 46.8\\* |")
    assert "\\* peak before collapse: the last validation maj@n is below half of the best." in lines


def test_runs_without_a_test_make_a_table_without_columns(tmp_path):
    configured(tmp_path / "run")
    table = table_of(tmp_path)
    assert table.columns == ()
    assert table.lines[0].seeds == "0 of 1"
