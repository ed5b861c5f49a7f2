"""The order of examples is a function of seed and step."""

from __future__ import annotations

from tsallis_run.data.order import visits_at

ITEMS = tuple(range(10))


def batch_at(step: int, batch_size: int) -> list[int]:
    return [item for item, _ in visits_at(ITEMS, step, batch_size, seed=0)]


def epochs(seed: int, num_steps: int, batch_size: int) -> list[int]:
    return [item for step in range(num_steps) for item, _ in visits_at(ITEMS, step, batch_size, seed=seed)]


def test_every_example_comes_once_an_epoch() -> None:
    stream = epochs(0, 10, 3)  # 30 draws: three epochs of ten
    assert [sorted(stream[i : i + 10]) for i in (0, 10, 20)] == [list(ITEMS)] * 3


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    stream = epochs(0, 4, 5)
    assert stream[:10] != stream[10:]
    assert stream != epochs(1, 4, 5)


def test_a_batch_depends_on_its_step_alone() -> None:
    assert batch_at(7, 3) == epochs(0, 8, 3)[-3:]


def test_a_batch_may_be_larger_than_the_dataset() -> None:
    assert sorted(batch_at(0, 20)) == sorted(ITEMS * 2)


def test_an_item_is_visited_once_in_every_epoch() -> None:
    assert sorted(visits_at(ITEMS, 0, 30, seed=0)) == sorted((item, epoch) for item in ITEMS for epoch in range(3))
