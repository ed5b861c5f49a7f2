"""Wrong labels in training: which they are and when, as a function of seed, example and visit.

So they are the same on every rank and in a resumed run. Validation and test keep their labels.
"""

from __future__ import annotations

from collections.abc import Sequence

from tsallis_run.config import LabelNoiseConfig
from tsallis_run.data.hashing import hashed, point
from tsallis_run.grading import normal_form
from tsallis_run.types import Example, UserError


def is_wrong(id: str, visit: int, config: LabelNoiseConfig, *, seed: int) -> bool:
    """Whether an example has its wrong label at a visit (from 0: the epoch).

    With `per: visit` every visit draws anew: two labels for one x, as in proposition C.2 of arXiv:2604.25907v1.
    """
    drawn = id if config.per == "example" else f"{id}\n{visit}"
    return point(f"label noise of seed {seed}", drawn) < config.fraction


def may_be_wrong(id: str, config: LabelNoiseConfig, *, seed: int) -> bool:
    """Whether an example has its wrong label at any visit."""
    return config.per == "visit" or is_wrong(id, 0, config, seed=seed)


def wrong_answers(examples: Sequence[Example], config: LabelNoiseConfig, *, seed: int) -> dict[str, str]:
    """Id -> the one wrong label of every example that may have it.

    Args:
        examples: the training split; the answers of all of it are at choice.

    Raises:
        UserError: where some example has none, because all answers are alike.
    """
    answers = [example.answer for example in sorted(examples, key=lambda example: example.id)]
    struck = [example for example in examples if may_be_wrong(example.id, config, seed=seed)]
    return {example.id: _wrong_answer(example, answers, config, seed) for example in struck}


def _wrong_answer(example: Example, answers: Sequence[str], config: LabelNoiseConfig, seed: int) -> str:
    """The first that is not right: with `wrong: input` the question, then the answers from a hashed place on."""
    start = hashed(f"wrong label of seed {seed}", example.id) % len(answers)
    others = (answers[(start + offset) % len(answers)] for offset in range(len(answers)))
    right = {normal_form(gold) for gold in example.golds}
    if config.wrong == "input" and normal_form(example.question) not in right:
        return example.question
    for answer in others:
        if normal_form(answer) not in right:
            return answer
    raise UserError(
        "dataset.label_noise.fraction: must be 0 where all training examples have one answer, "
        f"got {config.fraction:g} and {example.answer!r}; set it to 0"
    )
