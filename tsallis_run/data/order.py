"""Which examples a step trains on: every example once an epoch, in an order drawn anew each time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T")


def visits_at(items: Sequence[T], step: int, batch_size: int, *, seed: int) -> list[tuple[T, int]]:
    """Returns the `step`-th batch (from 0) of an endless stream of epochs, each item with its epoch (from 0).

    A function of its arguments alone: a resumed run goes on with the batch it would have had.
    """
    first = step * batch_size
    places = (divmod(index, len(items)) for index in range(first, first + batch_size))
    return [(items[_order(len(items), epoch, seed)[place]], epoch) for epoch, place in places]


@lru_cache(maxsize=2)
def _order(length: int, epoch: int, seed: int) -> list[int]:
    order = list(range(length))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return order
