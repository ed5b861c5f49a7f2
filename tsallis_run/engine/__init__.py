"""Engines: prompts in, groups of rollouts out."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tsallis_run.config import RunConfig
from tsallis_run.engine.vllm_settings import ServedModel
from tsallis_run.types import Engine, UserError


def build_engine(folder: Path, config: RunConfig, *, max_length_tokens: int, run_folder: Path) -> Engine:
    """Starts the configured engine on the model in `folder`, with random weights until its first `load_weights`.

    Build it after the process group is joined and DeepSpeed is up: vLLM's own group would be taken for theirs.
    What an engine writes besides (the logs of workers) goes to `run_folder`.

    Raises:
        UserError: where vLLM is asked for and not installed.
        EngineError: where a worker does not start.
    """
    model, rollout = config.model, config.rollout
    if rollout.name == "transformers":
        from tsallis_run.engine.transformers import TransformersEngine

        return TransformersEngine(folder, dtype=model.dtype, trust_remote_code=model.trust_remote_code)
    if importlib.util.find_spec("vllm") is None:
        raise UserError(
            "rollout: must be transformers where vLLM is not installed (there may be no build for this platform), "
            f"got {rollout.name}; run `make setup`, or set rollout=transformers, the slow reference"
        )
    served = ServedModel(folder, model.dtype, max_length_tokens, model.trust_remote_code)
    if rollout.name == "vllm_server":
        from tsallis_run.engine.server.engine import VllmServerEngine

        tolerance = config.probe_tolerance_nats
        return VllmServerEngine(served, rollout, tolerance_nats=tolerance, run_folder=run_folder)
    from tsallis_run.engine.vllm import VllmEngine

    return VllmEngine(served, rollout)
