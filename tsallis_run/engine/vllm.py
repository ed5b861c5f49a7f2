"""vLLM in the training process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from tsallis_run import ranks
from tsallis_run.config import VllmRollout
from tsallis_run.engine.packed_linears import keep_linears_plain, load_in_place
from tsallis_run.engine.rollouts import whole
from tsallis_run.engine.time_limit import time_limit
from tsallis_run.engine.vllm_settings import (
    SCORING_SETTINGS,
    ServedModel,
    environment_settings,
    model_settings,
    sampling_settings,
)
from tsallis_run.types import Completion, CompletionRequest, EngineError


class VllmEngine:
    """An engine in this process, started with random weights: the first `load_weights` must reach them all.

    Starting from random weights is what makes the probe after the first synchronisation a proof: a tensor
    that the loading does not reach (a tied lm_head, say) keeps random numbers and is found out at once.
    Build it after DeepSpeed: the other way round vLLM's process group of size 1 is taken for DeepSpeed's.
    """

    def __init__(self, model: ServedModel, config: VllmRollout) -> None:
        on_gpu = torch.cuda.is_available()
        for name, value in environment_settings(config, on_gpu=on_gpu).items():
            os.environ.setdefault(name, value)
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # here: weights are handed over in memory
        from vllm import LLM

        if not on_gpu:
            keep_linears_plain()
        self.policy_version = -1
        self._sleeps = on_gpu and config.sleep
        self._asleep = False
        self._timeout_seconds = config.timeout_seconds
        self._team = Team(config.tensor_parallel_size, config.patience_seconds)
        self._llm = LLM(
            **model_settings(model, config, on_gpu=on_gpu),
            distributed_executor_backend="external_launcher" if self._team.num_ranks > 1 else None,
            enable_sleep_mode=self._sleeps,
        )
        if on_gpu:
            own, taken = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.current_device()
            assert own == taken, f"rank {own} of this machine must keep its GPU, vLLM took GPU {taken}"

    def complete(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        """Samples from p itself: temperature 1, no truncation of the distribution, no penalty."""
        from vllm import SamplingParams

        asked, own = self._team.together(requests)
        parameters = [SamplingParams(**sampling_settings(request), detokenize=False) for request in asked]

        def sampled() -> list[Completion]:
            outputs = self._generate([request.prompt_ids for request in asked], parameters)
            return whole([_completion(output.outputs[0]) for output in outputs], asked)

        return self._team.agreed(sampled)[own]

    def score(self, ids: Sequence[int]) -> list[float]:
        """log p(ids[t] | ids[:t]) for t >= 1; prompt log-probs are never served from the prefix cache."""
        from vllm import SamplingParams

        parameters = SamplingParams(**SCORING_SETTINGS, detokenize=False)
        (output,) = self._generate([ids], [parameters])
        rows = output.prompt_logprobs
        assert rows is not None, "prompt_logprobs was asked for"
        return [row[token].logprob for row, token in zip(rows[1:], ids[1:], strict=True) if row is not None]

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Loads every weight in place, forgets cached prefixes, stamps the version."""
        if self._asleep:
            self._llm.wake_up()
            self._asleep = False
        self._llm.apply_model(lambda model: load_in_place(model, weights))
        self.reset_cache()
        self.policy_version = version

    def reset_cache(self) -> None:
        """Forgets cached prefixes, so that what follows does not depend on what was sampled before."""
        done = self._llm.reset_prefix_cache()
        assert done, "a prefix cache is reset between requests, never while one runs"

    def sleep(self) -> None:
        """Gives the GPU's memory back, weights and KV cache: the next `load_weights` brings new weights."""
        if self._sleeps and not self._asleep:
            self._llm.sleep(level=2)
            self._asleep = True
            self.policy_version = -1

    def close(self) -> None:
        """It ends with this process."""

    def _generate(self, prompts: Sequence[Sequence[int]], parameters: Sequence[Any]) -> list[Any]:
        from vllm import TokensPrompt

        asked = [TokensPrompt(prompt_token_ids=list(ids)) for ids in prompts]
        try:
            with time_limit(self._timeout_seconds):
                outputs: list[Any] = self._llm.generate(asked, list(parameters), use_tqdm=False)
        except Exception as error:  # whatever breaks inside, its requests must not stay behind
            engine = self._llm.llm_engine
            engine.abort_request(list(engine.output_processor.request_states), internal=True)
            raise EngineError(f"vLLM failed: {type(error).__name__}: {error}") from error
        return outputs


class Team:
    """The ranks that share one engine, tensor-parallel: each brings requests, all run them all, each takes its own."""

    def __init__(self, size: int, patience_seconds: float) -> None:
        self.num_ranks = ranks.size()
        self._group: Any = None
        if size > 1:
            firsts = range(0, self.num_ranks, size)
            self._group, _ = dist.new_subgroups_by_enumeration(
                [list(range(first, first + size)) for first in firsts],
                timeout=timedelta(seconds=patience_seconds),
                backend="gloo",
            )

    def together(self, requests: Sequence[CompletionRequest]) -> tuple[list[CompletionRequest], slice]:
        """The requests of the whole team, and where this rank's are among them."""
        if self._group is None:
            return list(requests), slice(None)
        parts = self._gathered(list(requests))
        own = dist.get_rank(self._group)
        start = sum(len(part) for part in parts[:own])
        return [request for part in parts for request in part], slice(start, start + len(requests))

    def agreed(self, sample: Callable[[], list[Completion]]) -> list[Completion]:
        """What `sample` returns here, once it has succeeded on the whole team: all ask the engine again, or none.

        Raises:
            EngineError: on every rank of the team, where it failed on any.
        """
        if self._group is None:
            return sample()
        completions: list[Completion] = []
        fault: EngineError | None = None
        try:
            completions = sample()
        except EngineError as error:
            fault = error
        for told in self._gathered(fault):
            if told is not None:
                raise told
        return completions

    def _gathered(self, own: Any) -> list[Any]:
        parts: list[Any] = [None] * dist.get_world_size(self._group)
        dist.all_gather_object(parts, own, group=self._group)
        return parts


def _completion(output: Any) -> Completion:
    ids = tuple(output.token_ids)
    log_probs = tuple(row[token].logprob for row, token in zip(output.logprobs, ids, strict=True))
    return Completion(ids, log_probs)
