"""Which runs are seeds of one another, and which are not."""

from __future__ import annotations

import os

from run_folders import configured, finished, logged, train_row

from tsallis_run.report import result_table
from tsallis_run.report.series import Setting, by_setting


def series_in(folder):
    (series,) = by_setting(result_table([folder])).values()
    return series


def run(folder, *, seed=0, q=0.75, estimator="paft", **changes):
    finished(folder, estimator=estimator, q=q, seed=seed)
    return configured(folder, seed=seed, q=q, estimator__name=estimator, start__name="cold", **changes)


def test_runs_that_differ_in_the_seed_alone_are_one_series(tmp_path):
    for seed in (2, 0, 1):
        run(tmp_path / str(seed), seed=seed, output_dir=f"{seed}", tracker={"wandb": seed}, zero={"stage": seed})
    (series,) = series_in(tmp_path)
    assert [row.results.seed for row in series.rows] == [0, 1, 2]
    assert (series.label, series.short_label) == ("PAFT, q = 0.75", "q = 0.75")


def test_runs_that_differ_in_another_setting_are_told_apart_by_it(tmp_path):
    run(tmp_path / "a", optimizer={"learning_rate": 0.1}, num_steps=5)
    run(tmp_path / "b", optimizer={"learning_rate": 0.2}, num_steps=5)
    assert [series.variant for series in series_in(tmp_path)] == [
        "optimizer.learning_rate=0.1",
        "optimizer.learning_rate=0.2",
    ]


def test_variants_that_differ_late_in_a_long_list_are_not_merged(tmp_path):
    run(tmp_path / "a", k1=1, k2=1, k3=1, k4=1)
    run(tmp_path / "b", k1=2, k2=2, k3=2, k4=2)
    assert [series.variant for series in series_in(tmp_path)] == ["k1=1, k2=1, k3=1", "k1=2, k2=2, k3=2"]
    run(tmp_path / "c", k1=2, k2=2, k3=2, k4=3)
    variants = ["k1=1, k2=1, k3=1, k4=1", "k1=2, k2=2, k3=2, k4=2", "k1=2, k2=2, k3=2, k4=3"]
    assert [series.variant for series in series_in(tmp_path)] == variants


def test_a_key_that_another_version_did_not_have_sets_nothing_apart(tmp_path):
    run(tmp_path / "old", seed=0)
    run(tmp_path / "new", seed=1, estimator__fixed_q=None)
    assert [len(series.rows) for series in series_in(tmp_path)] == [2]


def test_of_two_runs_of_one_seed_the_finished_one_counts_and_then_the_newest(tmp_path):
    for age, name in enumerate(("older", "newer")):
        os.utime(run(tmp_path / name), (1000 + age, 1000 + age))
    aside = configured(tmp_path / "aside", seed=0, q=0.75, estimator__name="paft", start__name="cold")
    logged(aside, [train_row(9)])
    (series,) = series_in(tmp_path)
    assert [row.folder.name for row in series.rows] == ["newer"]


def test_estimators_without_q_come_first_as_in_the_papers_tables(tmp_path):
    for name, estimator, q in (("a", "paft", 0.25), ("b", "garl", 1.0), ("c", "garl", 0.0), ("d", "grpo", None)):
        run(tmp_path / name, estimator=estimator, q=q)
    assert [series.label for series in series_in(tmp_path)] == ["GRPO", "GARL, q = 0", "GARL, q = 1", "PAFT, q = 0.25"]


def test_datasets_models_and_starts_are_settings_of_their_own(tmp_path):
    finished(tmp_path / "a", dataset="finqa", start="warm")
    finished(tmp_path / "b", dataset="finqa", start="cold")
    assert set(by_setting(result_table([tmp_path]))) == {
        Setting("finqa", "tiny", "warm"),
        Setting("finqa", "tiny", "cold"),
    }
