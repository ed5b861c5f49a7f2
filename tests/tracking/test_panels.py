from __future__ import annotations

from tsallis_run.tracking.panels import PANELS, panel_values


def test_train_numbers_stand_in_panels_and_evaluations_behind_their_split():
    row = {"step": 3, "split": "train", "phase": "garl", "loss": 0.5, "ess": 2.0, "sync_seconds": 0.1, "grad_norm": 1.0}
    assert panel_values(row) == {
        "train/phase": "garl",
        "train/loss": 0.5,
        "weights/ess": 2.0,
        "time/sync_seconds": 0.1,
        "gradient/grad_norm": 1.0,
    }
    test = {"step": 3, "split": "test", "maj@16": 0.5, "truncated_fraction": 0.1, "evaluate_seconds": 2.0}
    assert list(panel_values(test)) == ["test/maj@16", "test/truncated_fraction", "test/evaluate_seconds"]


def test_no_number_stands_in_two_panels():
    names = [name for panel in PANELS.values() for name in panel]
    assert len(names) == len(set(names))
