"""Learning rates by hand."""

from __future__ import annotations

import pytest
from small import run_config

from tsallis_run.policy.schedule import learning_rate_at


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # two warm-up steps, then eight steps of the schedule: progress 0, 1/8, ..., 7/8
        ("constant", {0: 0.5, 1: 1.0, 2: 1.0, 9: 1.0}),
        ("linear", {0: 0.5, 1: 1.0, 2: 1.0, 6: 0.5, 9: 0.125}),
        ("cosine", {0: 0.5, 1: 1.0, 2: 1.0, 6: 0.5, 10: 0.0}),
    ],
)
def test_learning_rates_by_hand(schedule: str, expected: dict[int, float]) -> None:
    overrides = (f"optimizer.schedule={schedule}", "optimizer.warmup_steps=2", "optimizer.learning_rate=0.5")
    config = run_config(*overrides).optimizer
    assert {step: 2 * learning_rate_at(step, config, 10) for step in expected} == pytest.approx(expected)
