"""When a run has lost what it had reached."""

from __future__ import annotations

import pytest

from tsallis_run.tracking.scores import collapsed


@pytest.mark.parametrize(
    ("majorities", "lost"),
    [
        ([0.0, 0.3, 0.14], True),  # below half of 0.3
        ([0.0, 0.3, 0.15], False),  # exactly half
        ([0.0, 0.3, 0.1, 0.2], False),  # recovered
        ([0.3], False),
        ([0.0, 0.0], False),
        ([0.0, 0.04, 0.0], False),  # one lucky example of 25
        ([0.0, 0.05, 0.0], True),
        ([], False),
    ],
)
def test_a_run_collapsed_where_its_newest_majority_is_below_half_of_a_best_worth_the_name(majorities, lost):
    assert collapsed(majorities) is lost
