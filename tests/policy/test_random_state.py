"""Random generators go on where they were."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from tsallis_run.policy.random_state import restore_random_state, save_random_state


def draws() -> tuple[float, float, float, float, list[float]]:
    return random.random(), random.gauss(), float(np.random.rand()), float(np.random.randn()), torch.rand(3).tolist()


def test_every_generator_draws_again_what_it_would_have_drawn(tmp_path: Path) -> None:
    draws()  # the Gaussian ones keep half of a pair
    save_random_state(tmp_path / "random-0.json")
    expected = [draws(), draws()]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    assert draws() != expected[0]
    restore_random_state(tmp_path / "random-0.json")
    assert [draws(), draws()] == expected


def test_a_rank_that_was_not_there_before_keeps_its_own(tmp_path: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3).tolist()
    torch.manual_seed(1)
    restore_random_state(tmp_path / "random-7.json")
    assert torch.rand(3).tolist() == expected
