"""Which engine a configuration starts."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from small import run_config

from tsallis_run.engine import build_engine
from tsallis_run.engine.transformers import TransformersEngine
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.types import UserError


def test_the_reference_engine_runs_only_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = model_folder(run_config().model, seed=0)
    asked = build_engine(folder, run_config("rollout=transformers"), max_length_tokens=64, run_folder=tmp_path)
    assert isinstance(asked, TransformersEngine)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"rollout: must be transformers where vLLM is not installed .* rollout=transf"):
        build_engine(folder, run_config(), max_length_tokens=64, run_folder=tmp_path)
