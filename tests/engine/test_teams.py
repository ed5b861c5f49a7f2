"""Ranks with an engine each, and ranks that share one by tensor parallelism."""

from __future__ import annotations

from pathlib import Path

from many_ranks import run_ranks

ROUNDING_NATS = 1e-4


def test_ranks_that_share_an_engine_get_the_completions_of_ranks_with_their_own_also_where_one_loses_a_call(
    tmp_path: Path,
) -> None:
    own, shared = (run_ranks("engine.team_worker", 2, tmp_path / f"team-of-{size}.pt") for size in (1, 2))
    assert own["ids"].shape == (5, 4)
    assert own["ids"].tolist() == shared["ids"].tolist()
    assert float(own["worst"]) <= ROUNDING_NATS
    assert float(shared["worst"]) <= ROUNDING_NATS
