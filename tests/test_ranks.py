"""Two ranks with unequal work: no deadlock, and the gradients, weights and evaluation of one rank."""

from __future__ import annotations

from pathlib import Path

import pytest
from many_ranks import run_ranks
from policy.rank_worker import SHARES_OF_MASS, STAGES
from torch import Tensor

from tsallis_run import ranks
from tsallis_run.types import EngineError, GaveUpError

ROUNDING = 1e-6
"""float32 sums in another order, relative to the largest entry."""

STEPS_ROUNDING = 1e-4
"""Of weights after five Adam steps, which divide gradients by their own size; a step is 1e-3."""

Found = dict[str, Tensor]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Found]:
    """What one rank finds, and what two find."""
    folder = tmp_path_factory.mktemp("ranks")
    one, two = (run_ranks("policy.rank_worker", size, folder / f"{size}.pt") for size in (1, 2))
    return one, two


@pytest.mark.parametrize("case", SHARES_OF_MASS)
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("what", ["gradient", "loss"])
def test_two_ranks_find_the_gradient_of_one(found: tuple[Found, Found], what: str, stage: int, case: str) -> None:
    one, two = (numbers[f"{what}, {case}, stage {stage}"] for numbers in found)
    assert one.abs().max() > 0
    assert (one - two).abs().max() <= ROUNDING * one.abs().max()


def test_two_ranks_step_as_one_where_all_mass_is_on_the_first_ranks_prompts(found: tuple[Found, Found]) -> None:
    one, two = (numbers["weights behind steps"] for numbers in found)
    assert (one - two).abs().max() <= STEPS_ROUNDING


def test_an_evaluation_of_given_rollouts_does_not_depend_on_the_number_of_ranks(found: tuple[Found, Found]) -> None:
    one, two = (numbers["evaluation"] for numbers in found)
    assert 0 < one[0] < 1
    assert one.tolist() == two.tolist()


def test_shares_are_put_together_again_in_order() -> None:
    ranks.join()
    assert ranks.share([1, 2, 3]) == [1, 2, 3]
    assert ranks.gathered([1, 2, 3]) == [1, 2, 3]


def test_a_mistake_on_one_rank_ends_all_and_the_first_tells_it_and_decides_and_waits_long_enough(
    tmp_path: Path,
) -> None:
    found = run_ranks("agreeing_rank", 2, tmp_path / "found.pt")["ranks"].tolist()
    patience = 4e6 + 1800  # two calls of the engine, each tried twice, and what no setting limits
    assert found == [[1, 0, 10, patience], [0, 1, 10, patience]]


def test_an_engine_that_fails_on_one_rank_fails_the_run() -> None:
    def fail() -> int:
        raise EngineError("out of order")

    ranks.join()
    assert ranks.agreed(lambda: 5) == 5
    with pytest.raises(GaveUpError, match="out of order"):
        ranks.agreed(fail)
