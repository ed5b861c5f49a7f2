"""The studies of docs/results.md: their numbers by hand, their sweeps, and a page that says what the records say."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from miniature_records import Run, over_seeds, read_runs, table, words, write_runs
from miniature_runs import (
    best_validated,
    first,
    first_step_at,
    greatest,
    last,
    setting,
    thinned,
    until,
    validated,
    validations,
)
from miniature_studies import STUDIES, condition, escort, squared_score
from run_folders import configured, logged, train_row, validation_row

from tsallis_run.report import Row, result_table

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results.md"
KEPT = ROOT / "docs" / "results"


def run_of(folder: Path, p_hats: list[float], **config: object) -> Row:
    """A run whose steps have these `p_hat`."""
    rows = [train_row(step, p_hat=p_hat, phase="garl") for step, p_hat in enumerate(p_hats, 1)]
    (row,) = result_table([logged(configured(folder / "run", **config), rows)])
    return row


def test_a_run_escapes_where_the_mean_of_a_window_reaches_the_threshold(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0.0, 0.1, 0.3, 0.2])
    # means of two steps: 0.05, 0.2, 0.25
    assert first_step_at(run, 0.2, window=2) == 3
    assert first_step_at(run, 0.25, window=2) == 4
    assert first_step_at(run, 0.26, window=2) is None
    assert first_step_at(run, 0.0, window=5) is None  # shorter than the window


def test_the_steps_of_a_warm_start_are_not_counted(tmp_path: Path) -> None:
    steps = [train_row(1, phase="supervised", p_hat=0.9), *(train_row(s, phase="garl", p_hat=0.1 * s) for s in (2, 3))]
    rows = [validation_row(0, 0.1), steps[0], validation_row(1, 0.2), *steps[1:], validation_row(3, 0.4)]
    (run,) = result_table([logged(configured(tmp_path / "run"), rows)])
    assert first_step_at(run, 0.3, window=1) == 2  # of its own steps
    assert first(run, "p_hat") == pytest.approx(0.2)
    assert [row["step"] for row in validations(run)] == [1, 3]
    assert (validated(run, "maj@16"), best_validated(run, "maj@16")) == (0.4, 0.4)
    assert validated(run, "contamination") is None


def test_ends_peaks_and_curves_are_means_over_windows(tmp_path: Path) -> None:
    run = run_of(tmp_path, [1.0, 5.0, 3.0, 2.0, 9.0])
    assert last(run, "p_hat", window=2) == 5.5
    assert greatest(run, "p_hat", window=2) == 5.5
    assert greatest(until(run, 4), "p_hat", window=2) == 4.0
    assert list(thinned(run, "p_hat", window=2)) == [(2, 3.0), (4, 2.5)]
    assert (last(run, "ess"), first(run, "ess"), greatest(run, "ess")) == (None, None, None)


def test_a_setting_that_a_run_has_not_is_none(tmp_path: Path) -> None:
    run = run_of(tmp_path, [1.0], dataset__label_noise=None)
    assert setting(run, "dataset.name") == "reversal"
    assert setting(run, "dataset.label_noise.fraction") is None


def test_words_tell_the_spread_and_how_many_have_a_value() -> None:
    assert words([0.5, 0.7, 0.9], ".1f") == "0.7 [0.5, 0.9]"
    assert words([0.50, 0.52], ".1f") == "0.5"
    assert words([100.0, None, 200.0], ".0f") == "150 [100, 200] (2 of 3)"
    assert words([None, None], ".0f") == "-"


def test_a_band_covers_the_steps_that_all_seeds_have() -> None:
    assert over_seeds([{10: 1.0, 20: 2.0}, {10: 3.0}, {}]) == {10: (1.0, 2.0, 3.0)}
    assert over_seeds([{}, {}]) == {}


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    runs = [
        Run("M = 2", "plug-in", 0, {"end": 0.12344}, {"p": {10: 0.5, 20: 0.25}, "maj": {0: 0.0}}),
        Run("M = 2", "PAFT", 1, {}, {}),
    ]
    write_runs(tmp_path, "study", ["end"], runs)
    kept = read_runs(tmp_path, "study")
    assert kept[0].numbers == {"end": 0.1234}
    assert (kept[0].curves, kept[1]) == (runs[0].curves, runs[1])
    assert list(table(kept, {"end": ".2f"})) == [
        "| setting | run | seeds | end |",
        "|---|---|---|---|",
        "| M = 2 | plug-in | 1 | 0.12 |",
        "| M = 2 | PAFT | 1 | - |",
    ]


def test_the_flow_is_in_step_with_eq_15_where_log_p_climbs_evenly(tmp_path: Path) -> None:
    # P grows by 10^(1/8) a step. The mean of three steps is (10^(-1/8) + 1 + 10^(1/8)) / 3 = 1.028 times the middle
    # one, so ten times the first P is reached with step 9 in the middle: 10 steps of rate 0.01. Eq. 15 at q = 1 and
    # small P is log(P / P0), 2.3026 for a decade.
    run = run_of(
        tmp_path,
        [1e-6 * 10 ** (step / 8) for step in range(20)],
        q=1.0,
        estimator={"name": "garl", "kind": "garl"},
        optimizer={"learning_rate": 0.01},
    )
    assert squared_score(run) == pytest.approx(2.302594 / (10 * 0.01), rel=1e-4)


def test_conditions_say_what_differs_from_the_plain_run(tmp_path: Path) -> None:
    plain = {"epsilon": 1e-8, "betas": [0.9, 0.999], "max_grad_norm": 1.0}
    model = {"name": "tiny", "architecture": {"initializer_range": 0.02}}
    assert condition(run_of(tmp_path / "a", [0.1], optimizer=plain, model=model)) == "epsilon 1e-8"
    changed = plain | {"epsilon": 1e-30, "betas": [0.9, 0.95], "max_grad_norm": None}
    model = {"name": "tiny", "architecture": {"initializer_range": 0.005}}
    dataset = {"name": "reversal", "num_train": 1}
    row = run_of(tmp_path / "b", [0.1], optimizer=changed, model=model, dataset=dataset)
    assert condition(row) == "epsilon 1e-30, even at the start, one example, beta2 = 0.95, no clipping"


def test_the_escort_is_predicted_for_two_labels_of_one_question_alone(tmp_path: Path) -> None:
    def predicted(name: str, q: object, per: str, fraction: float = 0.2) -> float | None:
        noise = {"fraction": fraction, "per": per, "wrong": "input"}
        dataset = {"name": "reversal", "label_noise": noise}
        return escort(run_of(tmp_path / name, [0.1], q=q, dataset=dataset, estimator={"name": "garl", "kind": "garl"}))

    # r = (0.2 / 0.8)^(1 / 0.5) = 1/16, and r / (1 + r) = 1/17
    assert predicted("half", 0.5, "visit") == pytest.approx(1 / 17)
    assert predicted("for good", 0.5, "example") is None
    assert predicted("moving", {"kind": "step", "start": 1.0, "end": 0.0, "num_steps": 5}, "visit") is None


def test_every_study_has_its_sweep() -> None:
    assert {path.stem for path in (ROOT / "sweeps").glob("miniature_*.yaml")} == {
        f"miniature_{name}" for name in STUDIES
    }


@pytest.mark.parametrize("name", sorted(path.stem for path in KEPT.glob("*.csv") if "_curves" not in path.stem))
def test_the_page_has_the_table_that_the_records_make(name: str) -> None:
    lines = list(table(read_runs(KEPT, name), STUDIES[name].forms))
    assert "\n".join(lines) in PAGE.read_text()
    with (KEPT / f"{name}.csv").open() as file:
        assert len(list(csv.DictReader(file))) >= len(lines) - 2
