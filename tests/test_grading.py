"""When an answer is right."""

from __future__ import annotations

import pytest

from tsallis_run.grading import deserves_reward, exact_match, is_right, normal_form, substring_match, word_bounded_match
from tsallis_run.types import Answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  The  Answer\n is\t42. ", "the answer is 42"),
        ("10 .", "10"),
        ("3.14", "3.14"),
        ("-31.47,", "-31.47,"),
        ("+5 %", "+5 %"),
        ("wait..", "wait."),
        ("\uff14\uff12", "42"),  # full-width digits
        ("STRASSE", "strasse"),
        ("Stra\u00dfe", "strasse"),
        ("\ufb01ve", "five"),  # the ligature fi
        ("Cafe\u0301", "caf\u00e9"),  # e with a combining accent
        (" . ", ""),
    ],
)
def test_normal_form(text: str, expected: str) -> None:
    assert normal_form(text) == expected


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("Paris", "Paris", True),
        ("\n Paris\t", " Paris", True),
        ("paris", "Paris", False),
        ("Paris.", "Paris", False),
        ("in Paris", "Paris", False),
        ("New  York", "New York", False),
        ("NYC", ["New York", "NYC"], True),
        ("", "Paris", False),
    ],
)
def test_exact_match_forgives_outer_white_space_and_nothing_else(
    answer: str, gold: str | list[str], right: bool
) -> None:
    assert exact_match(answer, gold) is right


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("It is PARIS, I think.", "paris.", True),
        ("15", "5", True),
        ("I know", "no", True),
        ("0.14464", "14%", False),
        ("the   big\napple", "Big Apple", True),
        ("N.Y.C", ["New York", "n.y."], True),
        ("", "5", False),
    ],
)
def test_substring_match_looks_for_the_gold_answer_in_normal_form(
    answer: str, gold: str | list[str], right: bool
) -> None:
    assert substring_match(answer, gold) is right


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("15", "5", False),
        ("51", "5", False),
        ("the answer is 5.", "5", True),
        ("5, not 6", "5", True),
        ("$5", "5", True),
        ("5.5", "5", False),
        (".5", "5", False),
        ("1,500", "500", False),
        ("1,500", "1", False),
        ("1,500", "1,500", True),
        ("-5", "5", False),
        ("x = -5", "-5", True),
        ("2019-2020", "2020", True),
        ("I know", "no", False),
        ("No, it is not", "no", True),
        ("(Paris)", "Paris", True),
        ("Version 2.Paris", "Paris", True),
        ("a C++ program", "C++", True),
        ("what?", "a.b", False),
        ("axb", "a.b", False),
        ("NYC", ["New York", "nyc"], True),
    ],
)
def test_word_bounded_match_takes_whole_words_and_whole_numbers(
    answer: str, gold: str | list[str], right: bool
) -> None:
    assert word_bounded_match(answer, gold) is right


@pytest.mark.parametrize("match", [exact_match, substring_match, word_bounded_match])
@pytest.mark.parametrize("gold", ["", "  ", [], ["Paris", ""]])
def test_an_empty_gold_answer_is_refused(match, gold: str | list[str]) -> None:
    with pytest.raises(ValueError, match="gold: must hold at least one answer and no empty one"):
        match("Paris", gold)


@pytest.mark.parametrize("match", [substring_match, word_bounded_match])
def test_a_gold_answer_whose_normal_form_is_empty_is_refused(match) -> None:
    with pytest.raises(ValueError, match="gold"):
        match("Paris", " . ")


def test_is_right_uses_the_match_that_is_named() -> None:
    answer, golds = "15 ", ["5", "9"]
    assert is_right(answer, golds, "substring")
    assert not is_right(answer, golds, "word_bounded")
    assert not is_right(answer, golds, "exact")
    assert is_right("9 ", golds, "exact")


@pytest.mark.parametrize(
    ("text", "ended", "rewarded"),
    [(" twelve\n", True, True), ("12", True, True), ("12", False, False), ("it is 12", True, False)],
)
def test_training_rewards_an_exact_answer_that_ended(text, ended, rewarded):
    answer = Answer(ids=(1,), log_probs=(-1.0,), text=text, ended=ended)
    assert deserves_reward(answer, ("12", "twelve")) is rewarded
