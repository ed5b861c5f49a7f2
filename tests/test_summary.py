"""What a run says before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import run_config

from tsallis_run.inputs import read_inputs
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.summary import summary
from tsallis_run.tracking.records import RunFolder


@pytest.mark.parametrize(("budget", "told"), [(128, True), (129, False)])
def test_groups_that_may_be_cut_are_told_with_their_length(budget: int, told: bool) -> None:
    """9 tokens of prompt, and 8 rollouts of up to 6 tokens with an answer of 9 behind them."""
    config = run_config(f"optimizer.micro_batch_tokens={budget}")
    inputs = read_inputs(config, model_folder(config.model, seed=0))
    assert (max(len(p.ids) for p in inputs.train), max(len(ids) for p in inputs.train for ids in p.gold_ids)) == (9, 9)
    words = "passes     a group may have 129 tokens; one above optimizer.micro_batch_tokens=128 is scored first"
    assert (words in summary(config, inputs, RunFolder(Path("run")))) == told
