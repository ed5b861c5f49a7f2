from __future__ import annotations

import json
import math

import pytest
import torch

from tsallis_run.tracking.records import RunFolder
from tsallis_run.tracking.rollout_rows import write_rows
from tsallis_run.tracking.rollout_table import evaluation_rows, training_rows
from tsallis_run.types import Answer, Coefficients, Example, Group, Prompt, RationaleEnd, Rollout

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def decode(ids):
    return "".join(LETTERS[token] for token in ids)


def rollout(rationale, answer=None, version=4, ended=True):
    return Rollout(
        rationale=rationale,
        log_probs=(-0.5,) * len(rationale),
        end=RationaleEnd.BUDGET,
        bridge=(25,),
        answer=None if answer is None else Answer(ids=answer, log_probs=(), text=decode(answer), ended=ended),
        policy_version=version,
    )


def group(name, *rollouts, gold="gold", aliases=()):
    example = Example(id=name, context="", question="?", answer=gold, aliases=aliases)
    prompt = Prompt(example, ids=(0, 1), gold_ids=((2,),))
    return Group(prompt, rollouts)


GROUPS = [group("first", rollout((3,)), rollout((4, 5))), group("second", rollout((6,), (7, 8)), rollout(()))]
COEFFICIENTS = Coefficients(torch.tensor([[0.25, -0.25], [0.0, 1.0]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
LOG_P_ANSWER = torch.tensor([[-1.5, -math.inf], [-3.0, 0.0]])


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_rollouts(path, *args):
    return write_rows(RunFolder(path), list(training_rows(*args)))


def test_every_rollout_is_one_readable_line_with_its_own_numbers(tmp_path):
    path = write_rollouts(tmp_path, 50, GROUPS, LOG_P_ANSWER, COEFFICIENTS, decode)
    rows = read(path)
    assert path == tmp_path / "rollouts" / "step-000050.jsonl"
    assert rows[0] == {
        "step": 50,
        "split": "train",
        "example_id": "first",
        "prompt": "ab",
        "gold": "gold",
        "aliases": [],
        "rationale": "d",
        "end": "budget",
        "bridge": "z",
        "answer": None,
        "answer_ended": None,
        "right": None,
        "elected": None,
        "log_p_answer": -1.5,
        "rationale_coefficient": 0.25,
        "answer_coefficient": 1.0,
        "policy_version": 4,
    }
    assert [row["example_id"] for row in rows] == ["first", "first", "second", "second"]
    assert [row["rationale"] for row in rows] == ["d", "ef", "g", ""]
    assert [row["answer"] for row in rows] == [None, None, "hi", None]
    assert [row["rationale_coefficient"] for row in rows] == [0.25, -0.25, 0.0, 1.0]
    assert [row["answer_coefficient"] for row in rows] == [1.0, 2.0, 3.0, 4.0]


def test_a_rollout_without_mass_has_a_null_where_json_has_no_infinity(tmp_path):
    path = write_rollouts(tmp_path, 1, GROUPS, LOG_P_ANSWER, COEFFICIENTS, decode)
    assert [row["log_p_answer"] for row in read(path)] == [-1.5, None, -3.0, 0.0]


def test_an_estimator_that_scores_no_answer_leaves_log_p_answer_null(tmp_path):
    path = write_rollouts(tmp_path, 1, GROUPS, None, COEFFICIENTS, decode)
    assert [row["log_p_answer"] for row in read(path)] == [None] * 4


def test_a_coefficient_that_is_no_number_is_refused(tmp_path):
    spoilt = Coefficients(COEFFICIENTS.rationale * math.nan, COEFFICIENTS.answer)
    with pytest.raises(ValueError, match="JSON"):
        write_rollouts(tmp_path, 1, GROUPS, LOG_P_ANSWER, spoilt, decode)
    assert list((tmp_path / "rollouts").iterdir()) == []


def test_a_line_break_in_a_rationale_breaks_no_line_of_the_file(tmp_path):
    path = write_rollouts(tmp_path, 1, GROUPS, LOG_P_ANSWER, COEFFICIENTS, lambda ids: "one\ntwo\u2028three")
    lines = path.read_text(encoding="utf-8").split("\n")
    assert len(lines) == 5
    assert json.loads(lines[0])["rationale"] == "one\ntwo\u2028three"


def test_a_sampled_answer_is_right_in_training_where_it_is_rewarded(tmp_path):
    answers = group("one", rollout((3,), (7,)), rollout((3,), (7,), ended=False), rollout((3,), (7, 7)), gold="h")
    coefficients = Coefficients(torch.zeros(1, 3), torch.zeros(1, 3))
    rows = read(write_rollouts(tmp_path, 1, [answers], None, coefficients, decode))
    assert [(row["answer"], row["answer_ended"], row["right"]) for row in rows] == [
        ("h", True, True),
        ("h", False, False),
        ("hh", True, False),
    ]


def test_an_evaluation_is_graded_by_its_match_and_shows_the_vote():
    answers = group("one", *(rollout((3,), ids) for ids in ((0,), (7, 8), (7, 8), (8,))), gold="i", aliases=("x",))
    rows = list(evaluation_rows("validation", 150, [answers], "substring", decode))
    assert [(row.split, row.step, row.gold, row.aliases) for row in rows] == [("validation", 150, "i", ("x",))] * 4
    assert [(row.answer, row.right, row.elected) for row in rows] == [
        ("a", False, False),
        ("hi", True, True),
        ("hi", True, True),
        ("i", True, False),
    ]
    assert [row.right for row in evaluation_rows("test", 150, [answers], "word_bounded", decode)] == [
        False,
        False,
        False,
        True,
    ]
    assert {(row.log_p_answer, row.rationale_coefficient, row.answer_coefficient) for row in rows} == {
        (None, None, None)
    }


def test_an_evaluation_lies_beside_the_training_steps(tmp_path):
    answers = [group("one", rollout((3,), (7,)))]
    validation = write_rows(RunFolder(tmp_path), list(evaluation_rows("validation", 150, answers, "substring", decode)))
    test = write_rows(RunFolder(tmp_path), list(evaluation_rows("test", 150, answers, "substring", decode)))
    assert validation == tmp_path / "rollouts" / "validation-000150.jsonl"
    assert test == tmp_path / "rollouts" / "test.jsonl"
    assert [(row["split"], row["step"], row["answer"]) for row in read(test)] == [("test", 150, "h")]


def test_an_evaluation_without_an_answer_is_refused():
    with pytest.raises(AssertionError, match="1 of 2 rollouts have an answer"):
        list(evaluation_rows("test", 0, [group("one", rollout((3,), (7,)), rollout((3,)))], "substring", decode))
