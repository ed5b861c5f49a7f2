"""From one rank to two and back, to another ZeRO stage; and bad numbers on one rank alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from many_ranks import run_ranks
from policy.rank_worker import STAGES, trained_policy
from policy.resume_worker import BEFORE, opened, save, take_steps, weights
from torch import Tensor

STEPS_ROUNDING = 1e-4
"""Of weights after four Adam steps, which divide gradients by their own size; a step is 1e-3."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def uninterrupted(folder: Path) -> Tensor:
    """The weights of one rank after four steps; a checkpoint lies after the second."""
    policy = trained_policy(BEFORE)
    take_steps(policy, 2)
    save(folder / "from-1", policy)
    take_steps(policy, 2)
    return weights(policy)


@pytest.fixture(scope="module")
def found(folder: Path, uninterrupted: Tensor) -> dict[str, Tensor]:
    """What two ranks find that go on from there at another stage."""
    return run_ranks("policy.resume_worker", 2, folder / "two.pt")


def test_two_ranks_at_stage_3_go_on_from_one_at_stage_1(found: dict[str, Tensor], uninterrupted: Tensor) -> None:
    assert (found["weights"] - uninterrupted).abs().max() <= STEPS_ROUNDING


def test_one_rank_at_stage_0_opens_what_two_at_stage_3_saved_to_the_bit(found: dict[str, Tensor], folder: Path) -> None:
    policy = opened(folder / "from-2", stage=0)
    assert policy.version == 4
    assert weights(policy).equal(found["weights"])


@pytest.mark.parametrize("stage", STAGES)
def test_a_number_that_is_not_finite_on_one_rank_stops_the_step_of_both(found: dict[str, Tensor], stage: int) -> None:
    assert found[f"bad step, stage {stage}"].tolist() == [0.0, 0.0, 0.0] * 2  # finite, version, change of each rank
