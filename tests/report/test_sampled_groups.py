"""Rollouts as groups: votes, draws, P-hat, and their words in the terminal."""

from __future__ import annotations

import math

import pytest
from rollout_rows import answered, sampled
from run_folders import configured

from tsallis_run.report import result_table
from tsallis_run.report.rollouts import files_of, read_groups, rollout_words
from tsallis_run.tracking.records import RunFolder
from tsallis_run.tracking.rollout_rows import write_rows
from tsallis_run.types import UserError


def run_with(folder, *tables, **changes):
    configured(folder, **changes)
    for rows in tables:
        write_rows(RunFolder(folder), rows)
    (row,) = result_table([folder])
    return row


def group_of(row):
    (file,) = files_of(row)
    (group,) = read_groups(row, file)
    return group


def test_p_hat_is_the_mean_of_the_weights_those_without_mass_included(tmp_path):
    rows = [sampled(log_p_answer=math.log(0.5)), sampled(log_p_answer=math.log(0.25)), sampled(log_p_answer=None)]
    assert group_of(run_with(tmp_path, rows)).log_p_hat == pytest.approx(math.log(0.25))


def test_p_hat_of_weights_below_the_smallest_float_is_still_a_number(tmp_path):
    assert group_of(run_with(tmp_path, [sampled(log_p_answer=-2000.0)] * 2)).log_p_hat == pytest.approx(-2000.0)


def test_how_often_paft_drew_a_rollout_follows_from_its_coefficient(tmp_path):
    rows = [sampled(coefficient=value) for value in (3e-9, 0.0, 1e-9, 0.0)]
    paft = {"estimator__name": "paft", "estimator__kind": "paft"}
    group = group_of(run_with(tmp_path / "as many as sampled", rows, **paft))
    assert [sample.num_drawn for sample in group.samples] == [3, 0, 1, 0]
    group = group_of(run_with(tmp_path / "eight", rows, **paft, estimator__num_resamples=8))
    assert [sample.num_drawn for sample in group.samples] == [6, 0, 2, 0]


def test_an_estimator_that_draws_nothing_tells_what_is_trained(tmp_path):
    group = group_of(run_with(tmp_path, [sampled(coefficient=-0.5), sampled(coefficient=0.0)]))
    assert [(sample.num_drawn, sample.is_trained) for sample in group.samples] == [(None, True), (None, False)]


def test_votes_are_counted_over_normal_forms_the_elected_first(tmp_path):
    rows = [
        answered("7", right=False),
        answered("12", right=True, elected=True),
        answered(" 12.", right=True, elected=True),
        answered("", right=False),
    ]
    group = group_of(run_with(tmp_path, rows))
    assert [(vote.answer, vote.num_votes, vote.is_elected, vote.is_right) for vote in group.votes] == [
        ("12", 2, True, True),
        ("7", 1, False, False),
        ("", 1, False, False),
    ]
    assert (group.num_right, group.vote_is_right, group.log_p_hat) == (2, True, None)


def test_the_terminal_shows_a_step_with_log_w_coefficients_and_ends(tmp_path):
    first = sampled(rationale="2+2", log_p_answer=-1.5, coefficient=0.25)
    second = sampled(rationale="?", end="budget", log_p_answer=None, coefficient=0.0)
    assert rollout_words(run_with(tmp_path, [first, second]), "last").splitlines() == [
        f"{tmp_path}: step 50, 1 examples",
        "",
        "example one  gold 4 | four  log P -2.2",
        "  | What is 2+2?<think>",
        "   1  log w -1.50  a 2.50e-01  b 2.50e-01  trained  ended itself",
        "      2+2</think>",
        "   2  log w -inf or not scored  a 0  b 0  no gradient  cut by the budget",
        "      ?</think>",
    ]


def test_the_terminal_shows_the_answers_and_votes_of_a_test(tmp_path):
    rows = [answered("4", right=True, elected=True), answered("5", right=False)]
    words = rollout_words(run_with(tmp_path, rows), "test")
    assert "example one  gold 4 | four  1 of 2 answers right" in words
    assert "      answer: 4\n" in words
    assert words.endswith("  votes: 1 x 4, elected, right\n  votes: 1 x 5, wrong")


@pytest.mark.parametrize(
    ("step", "title"),
    [
        ("20", "step 20"),
        ("000020", "step 20"),
        ("last", "step 100"),
        ("validation", "validation at step 100"),
        ("test", "test"),
    ],
)
def test_a_step_is_asked_for_by_its_number_or_by_name(tmp_path, step, title):
    trained = [[sampled(step=number)] for number in (100, 20)]
    evaluated = [
        [answered("4", split=split, step=number)]
        for split, number in (("validation", 0), ("validation", 100), ("test", 100))
    ]
    assert f": {title}, 1 examples" in rollout_words(run_with(tmp_path, *trained, *evaluated), step)


def test_a_step_that_was_not_saved_is_answered_with_those_that_were(tmp_path):
    row = run_with(tmp_path / "a", [sampled(step=20)], [answered("4")])
    with pytest.raises(UserError, match=r"--rollouts: must be last, .* got 30; it has step 20, test"):
        rollout_words(row, "30")
    with pytest.raises(UserError, match=r"it has none; tracker\.rollouts_every_steps=N saves them"):
        rollout_words(run_with(tmp_path / "b"), "last")


def test_what_a_model_wrote_cannot_steer_the_terminal(tmp_path):
    words = rollout_words(run_with(tmp_path, [sampled(rationale="\x1b[2J\x07a\r\u202eb")]), "last")
    assert " [2J a  b" in words
    assert {char for char in words if not char.isprintable()} == {"\n"}
