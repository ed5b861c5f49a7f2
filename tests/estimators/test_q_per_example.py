"""q of each example from its last visit."""

from __future__ import annotations

import json
import math

import pytest
import torch

from tsallis_run.config import QPerExample
from tsallis_run.estimators.q_per_example import q_of, remembered

PER_EXAMPLE = QPerExample(kind="per_example", floor=0.1, prior=0.75)


def q_at(log_p: float | None, floor: float = 0.1) -> float:
    return float(q_of([log_p], PER_EXAMPLE.model_copy(update={"floor": floor})))


def test_q_by_hand() -> None:
    # P = 0.01: 0.01^(1-q) = 0.1 at q = 1/2; P = 1e-4: at q = 3/4; P >= 0.1 is above the floor whatever q is
    found = q_of([math.log(1e-2), math.log(1e-4), math.log(0.1), math.log(0.7), 0.0, None], PER_EXAMPLE)
    assert found.shape == (6, 1)
    assert found.flatten().tolist() == pytest.approx([0.5, 0.75, 0.0, 0.0, 0.0, 0.75])


@pytest.mark.parametrize("floor", [0.5, 0.1, 1e-3])
def test_q_is_the_smallest_at_which_the_gradient_of_fine_tuning_keeps_its_floor(floor: float) -> None:
    for log_p in (-1e-9, -0.5, -3.0, -33.6, -2000.0):
        q = q_at(log_p, floor)
        log_attenuation = (1 - q) * log_p
        assert 0 <= q <= 1
        assert log_attenuation >= math.log(floor) - 1e-9
        assert q == 0 or log_attenuation == pytest.approx(math.log(floor))


def test_q_falls_as_an_example_is_learnt() -> None:
    qs = [q_at(log_p) for log_p in (-math.inf, -1e300, -34.0, -10.0, -3.0, -2.0)]
    assert qs == sorted(qs, reverse=True)
    assert (qs[0], qs[1], qs[-1]) == (1.0, 1.0, 0.0)


def test_no_prompts_have_no_q() -> None:
    assert q_of([], PER_EXAMPLE).shape == (0, 1)


def test_the_last_visit_counts_and_the_others_stay() -> None:
    log_w = torch.tensor([[0.2, 0.4], [0.0, 0.0]], dtype=torch.float64).log()
    before = {"one": -9.0, "three": -3.0}
    after = remembered(before, ["one", "two"], log_w)
    assert after["one"] == pytest.approx(math.log(0.3))  # the mean of the two weights
    assert after["three"] == -3.0
    assert before == {"one": -9.0, "three": -3.0}


def test_a_group_without_mass_is_written_as_json_and_has_q_1() -> None:
    after = remembered({}, ["dead"], torch.full((1, 4), -math.inf, dtype=torch.float64))
    assert q_at(json.loads(json.dumps(after, allow_nan=False))["dead"]) == 1.0
