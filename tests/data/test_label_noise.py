"""Which labels are wrong, and what stands in their place."""

from __future__ import annotations

import pytest
from small import run_config

from tsallis_run.config import LabelNoiseConfig
from tsallis_run.data import load_splits
from tsallis_run.data.label_noise import is_wrong, may_be_wrong, wrong_answers
from tsallis_run.types import Example, UserError

IDS = [f"id {number}" for number in range(4000)]


def noise(fraction: float = 0.3, per: str = "example", wrong: str = "other") -> LabelNoiseConfig:
    return LabelNoiseConfig(fraction=fraction, per=per, wrong=wrong)


def struck(config: LabelNoiseConfig, *, visit: int = 0, seed: int = 0) -> set[str]:
    return {id for id in IDS if is_wrong(id, visit, config, seed=seed)}


@pytest.mark.parametrize("per", ["example", "visit"])
def test_the_fraction_of_wrong_labels_is_the_one_asked_for(per: str) -> None:
    # 4000 draws with probability 0.3: the standard deviation of their mean is 0.0072
    assert len(struck(noise(per=per))) / len(IDS) == pytest.approx(0.3, abs=0.02)


def test_per_example_the_same_ones_are_wrong_at_every_visit() -> None:
    config = noise()
    assert struck(config, visit=0) == struck(config, visit=7)
    assert {id for id in IDS if may_be_wrong(id, config, seed=0)} == struck(config)


def test_per_visit_every_visit_draws_anew() -> None:
    config = noise(per="visit")
    both = struck(config, visit=0) & struck(config, visit=1)
    assert len(both) / len(IDS) == pytest.approx(0.3**2, abs=0.02)
    assert all(may_be_wrong(id, config, seed=0) for id in IDS)


def test_a_larger_fraction_only_adds_wrong_labels() -> None:
    assert struck(noise(0.1)) < struck(noise(0.3))


def test_another_seed_strikes_others() -> None:
    assert struck(noise(), seed=0) != struck(noise(), seed=1)


def examples(*answers: str) -> list[Example]:
    return [Example(f"id {index}", "", f"q {index}", answer) for index, answer in enumerate(answers)]


def test_a_wrong_label_is_the_answer_of_another_example_and_never_right() -> None:
    train = load_splits(
        run_config(
            "dataset.num_digits=2", "dataset.num_train=60", "dataset.num_validation=1", "dataset.num_test=1"
        ).dataset,
        seed=0,
    ).train
    wrong = wrong_answers(train, noise(per="visit"), seed=0)
    assert wrong.keys() == {example.id for example in train}
    assert set(wrong.values()) <= {example.answer for example in train}
    assert all(wrong[example.id] != example.answer for example in train)
    assert len(set(wrong.values())) > 20


def test_what_equals_an_alias_in_its_normal_form_is_no_wrong_label() -> None:
    one = Example("one", "", "q", "New York", aliases=("NYC",))
    others = examples("nyc.", " new  YORK", "Minsk")
    assert wrong_answers([one, *others], noise(per="visit"), seed=0)["one"] == "Minsk"


def test_the_order_of_the_examples_changes_no_label() -> None:
    train = examples(*(str(number) for number in range(50)))
    assert wrong_answers(train, noise(), seed=3) == wrong_answers(train[::-1], noise(), seed=3)


def test_a_copy_of_the_input_is_wrong_unless_it_is_right() -> None:
    there_and_back, palindrome = Example("a", "", "12", "21"), Example("b", "", "11", "11")
    wrong = wrong_answers([there_and_back, palindrome], noise(per="visit", wrong="input"), seed=0)
    assert wrong == {"a": "12", "b": "21"}


def test_labels_that_are_all_alike_cannot_be_wrong() -> None:
    with pytest.raises(UserError, match=r"dataset.label_noise.fraction: must be 0 where all .* got 0.3 and 'Yes'"):
        wrong_answers(examples("Yes", "yes", "YES."), noise(per="visit"), seed=0)
