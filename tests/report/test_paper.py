"""The paper's numbers, and when a run may be set beside them."""

from __future__ import annotations

import pytest
from run_folders import configured, finished

from tsallis_run.report import result_table
from tsallis_run.report.paper import SCORES, PaperScore, paper_score


def run(folder, *, model="qwen3_0_6b", dataset="finqa", start="cold", estimator="garl", q=0.75, **changes):
    finished(folder, model=model, dataset=dataset, start=start, estimator=estimator, q=q)
    configured(folder, model__name=model, estimator__name=estimator, **changes)
    (row,) = result_table([folder])
    return row


@pytest.mark.parametrize(
    ("choices", "metric", "score"),
    [
        ({}, "pass@16", PaperScore(61.1, collapsed=False, table=1)),
        ({"q": 0.5}, "maj@16", PaperScore(0.0, collapsed=False, table=1)),
        ({"dataset": "musique", "q": 1.0}, "pass@1", PaperScore(21.6, collapsed=False, table=2)),
        (
            {"dataset": "hotpotqa", "start": "warm", "estimator": "grpo", "q": None},
            "maj@16",
            PaperScore(33.5, collapsed=False, table=2),
        ),
        ({"dataset": "hotpotqa", "start": "warm"}, "maj@16", PaperScore(46.8, collapsed=True, table=3)),
        ({"start": "warm", "estimator": "paft", "q": 0.25}, "maj@16", PaperScore(26.6, collapsed=False, table=3)),
    ],
)
def test_a_run_in_a_setting_of_the_paper_finds_its_number(tmp_path, choices, metric, score):
    assert paper_score(run(tmp_path / "run", **choices), metric) == score


def test_the_base_model_is_found_only_where_its_own_weights_were_evaluated(tmp_path):
    choices = {"start": "warm", "task": "evaluate"}
    base = run(tmp_path / "base", **choices, model__path="Qwen/Qwen3-0.6B")
    tuned = run(tmp_path / "tuned", **choices, model__path="outputs/run/best")
    assert paper_score(base, "maj@16") == PaperScore(12.6, collapsed=False, table=3)
    assert paper_score(tuned, "maj@16") is None


@pytest.mark.parametrize(
    "choices",
    [
        {"model": "smollm2_135m"},
        {"dataset": "gsm8k"},
        {"q": 0.6},
        {"q": "1->0 step at 200"},
        {"estimator": "paft"},
        {"estimator__jackknife": True},
        {"estimator__answer_term": False},
    ],
)
def test_a_run_in_another_setting_finds_none(tmp_path, choices):
    assert paper_score(run(tmp_path / "run", **choices), "maj@16") is None


def test_all_numbers_of_the_three_tables_are_there():
    # Table 1: 6 rows of 3, of which 2 rows are in Table 2 too; Table 2: 9 cells of 3; Table 3: 7 rows of 3 datasets,
    # whose GRPO row is in Table 2 too
    assert len(SCORES) == 4 * 3 + 9 * 3 + 6 * 3
