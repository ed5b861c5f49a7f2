"""How vLLM is run, whether in this process or as a server: the same settings, so the same distribution."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsallis_run.config import VllmPart
from tsallis_run.types import CompletionRequest

TOKENS_PER_ENGINE_STEP = 4096
"""On CPU machines: enough prompts at once to keep the cores busy, few enough for a small cache."""


@dataclass(frozen=True)
class ServedModel:
    """What vLLM is told of the model that it samples from."""

    folder: Path
    dtype: str
    max_length_tokens: int
    """Of a prompt with all that follows it."""
    trust_remote_code: bool


def model_settings(model: ServedModel, config: VllmPart, *, on_gpu: bool) -> dict[str, Any]:
    """vLLM's arguments for a model, started with random weights."""
    settings = {
        "model": str(model.folder),
        "load_format": "dummy",
        "dtype": model.dtype,
        "generation_config": "vllm",
        "tensor_parallel_size": config.tensor_parallel_size,
        "gpu_memory_utilization": config.gpu_memory_utilization,
        "max_model_len": model.max_length_tokens,
        "block_size": config.block_size,
        "enforce_eager": not on_gpu,
        "enable_prefix_caching": True,
        "trust_remote_code": model.trust_remote_code,
    }
    if on_gpu:
        return settings
    cache = {"kv_cache_memory_bytes": config.kv_cache_bytes}
    return settings | cache | _without_cut_prefills(model.max_length_tokens)


def sampling_settings(request: CompletionRequest) -> dict[str, Any]:
    """Sampling from p itself: temperature 1, no truncation of the distribution, no penalty."""
    return {
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "max_tokens": request.max_tokens,
        "stop_token_ids": list(request.stop_ids),
        "ignore_eos": True,  # a model may list several end tokens; ours are the stop ids
        "seed": request.seed,
        "logprobs": 0,
    }


SCORING_SETTINGS: dict[str, Any] = {"max_tokens": 1, "prompt_logprobs": 0, "ignore_eos": True}
"""Log-probs of the prompt, which are never served from the prefix cache."""


def environment_settings(config: VllmPart, *, on_gpu: bool) -> dict[str, str]:
    """What vLLM reads from the environment."""
    settings = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    if not on_gpu:
        settings["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        settings["TORCHDYNAMO_DISABLE"] = "1"  # one small function of the sampler is worth no compiler's 3 seconds
    return settings


def _without_cut_prefills(max_length_tokens: int) -> dict[str, Any]:
    """A prompt cut over two engine steps rewinds its request's generator, which a CPU generator cannot."""
    return {
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(max_length_tokens, TOKENS_PER_ENGINE_STEP),
    }
