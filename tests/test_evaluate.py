"""Grading and the metrics of a split."""

from __future__ import annotations

import pytest
from small import run_config

from tsallis_run.evaluate import Graded, evaluation_metrics, grade
from tsallis_run.types import Answer, Example, Group, Prompt, RationaleEnd, Rollout


def answered(*texts: str, gold: str = "12", ended: bool = True, end: RationaleEnd = RationaleEnd.MARKER) -> Group:
    rollouts = tuple(Rollout((5,), (), end, (), Answer((6,), (-1.0,), text, ended), 0) for text in texts)
    return Group(Prompt(Example("one", "", "q", gold, aliases=("twelve",)), (5,), ()), rollouts)


def graded(num_right: int, *, majority: bool, num_samples: int = 4) -> Graded:
    return Graded(num_samples, num_right, majority, num_right, num_unended=0, num_truncated=1, is_yes_no=False)


def test_answers_count_by_substring_and_the_majority_by_votes() -> None:
    result = grade(answered("it is 12.", "Twelve", "112", "7"), run_config().evaluation)
    # "112" holds 12 as a substring, not as a whole word
    assert (result.num_right, result.num_right_word_bounded) == (3, 2)
    assert result.majority_is_right  # four different answers: the first one wins
    assert not grade(answered("7", "7", "12"), run_config().evaluation).majority_is_right


def test_the_match_is_a_setting() -> None:
    config = run_config("evaluation.match=word_bounded").evaluation
    assert grade(answered("112", "12"), config).num_right == 1


def test_cut_off_answers_and_rationales_are_counted() -> None:
    result = grade(answered("12", "7", ended=False, end=RationaleEnd.BUDGET), run_config().evaluation)
    assert (result.num_unended, result.num_truncated, result.num_right) == (2, 2, 1)


def test_metrics_by_hand() -> None:
    config = run_config("evaluation.num_samples=4", "evaluation.bootstrap_resamples=50").evaluation
    metrics = evaluation_metrics(
        [graded(0, majority=False), graded(1, majority=False), graded(4, majority=True)], config, seed=0
    )
    assert metrics["pass@1"] == pytest.approx((0 + 0.25 + 1) / 3)
    assert metrics["pass@4"] == pytest.approx((0 + 1 + 1) / 3)
    assert metrics["maj@4"] == pytest.approx(1 / 3)
    assert metrics["truncated_fraction"] == pytest.approx(3 / 12)
    assert metrics["num_examples"] == 3
    assert metrics["maj@4_low"] <= metrics["maj@4"] <= metrics["maj@4_high"]
    assert "pass@1_word_bounded" not in metrics


def test_yes_no_golds_are_graded_by_whole_words_as_well() -> None:
    config = run_config("evaluation.num_samples=2", "evaluation.bootstrap_resamples=10").evaluation
    metrics = evaluation_metrics([grade(answered("I know", "no", gold="no"), config)], config, seed=0)
    assert (metrics["pass@1"], metrics["pass@1_word_bounded"]) == (1.0, 0.5)
