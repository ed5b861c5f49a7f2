"""Prompts -> groups of rollouts, in two exact calls of any engine: the rationale, then the answer."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace

from tsallis_run.config import RolloutConfig
from tsallis_run.prompts import ChatFormat
from tsallis_run.types import Answer, Completion, CompletionRequest, Engine, EngineError, Group, Prompt, Rollout

ROUNDING_NATS = 1e-3
"""How far above 0 the log of a probability near 1 may come out."""


def sample_groups(
    engine: Engine,
    prompts: Sequence[Prompt],
    format: ChatFormat,
    config: RolloutConfig,
    *,
    num_rollouts: int,
    answers: bool,
    stream: str,
) -> list[Group]:
    """Samples `num_rollouts` rationales per prompt, and their answers where `answers`.

    `stream` names the random stream, "seed 0, step 17" say: a rollout's seed is a hash of it, the
    example's id and the rollout's index, so no two rollouts of a run share random numbers.
    """
    seeds = [[_seed(stream, p.example.id, m) for m in range(num_rollouts)] for p in prompts]
    requests = [
        CompletionRequest(prompt.ids, config.max_rationale_tokens, format.rationale_stop_ids, seed)
        for prompt, row in zip(prompts, seeds, strict=True)
        for seed in row
    ]
    rationales = _completed(engine, requests)
    rollouts = [_rollout(completion, format, engine.policy_version) for completion in rationales]
    if answers:
        rollouts = _with_answers(engine, requests, rollouts, format, config)
    return [
        Group(prompt, tuple(rollouts[i * num_rollouts : (i + 1) * num_rollouts])) for i, prompt in enumerate(prompts)
    ]


def _completed(engine: Engine, requests: Sequence[CompletionRequest]) -> list[Completion]:
    """One whole completion a request; an engine that failed is asked once more.

    Raises:
        EngineError: where it failed twice.
    """
    try:
        return whole(engine.complete(requests), requests)
    except EngineError:
        engine.reset_cache()
        return whole(engine.complete(requests), requests)


def whole(completions: list[Completion], requests: Sequence[CompletionRequest]) -> list[Completion]:
    """The completions, once each is found to be what its request may be answered with; else EngineError."""
    if len(completions) != len(requests):
        raise EngineError(f"the engine returned {len(completions)} completions to {len(requests)} requests")
    for completion, request in zip(completions, requests, strict=True):
        num_tokens, num_log_probs = len(completion.ids), len(completion.log_probs)
        if not 0 < num_tokens <= request.max_tokens or num_tokens != num_log_probs:
            raise EngineError(
                f"the engine returned {num_tokens} tokens with {num_log_probs} log-probs where "
                f"1 to {request.max_tokens} were asked for"
            )
        if not all(math.isfinite(value) and value <= ROUNDING_NATS for value in completion.log_probs):
            raise EngineError(f"the engine returned log-probs that are no log-probs: {completion.log_probs[:8]}")
    return completions


def _rollout(completion: Completion, format: ChatFormat, policy_version: int) -> Rollout:
    end = format.rationale_end(completion.ids)
    return Rollout(completion.ids, completion.log_probs, end, format.bridge(end), None, policy_version)


def _with_answers(
    engine: Engine,
    asked: Sequence[CompletionRequest],
    rollouts: Sequence[Rollout],
    format: ChatFormat,
    config: RolloutConfig,
) -> list[Rollout]:
    requests = [
        CompletionRequest(
            (*request.prompt_ids, *rollout.rationale, *rollout.bridge),
            config.max_answer_tokens,
            (format.end_id,),
            _seed("answer", str(request.seed), 0),
        )
        for request, rollout in zip(asked, rollouts, strict=True)
    ]
    completions = _completed(engine, requests)
    return [
        replace(rollout, answer=_answer(completion, format))
        for rollout, completion in zip(rollouts, completions, strict=True)
    ]


def _answer(completion: Completion, format: ChatFormat) -> Answer:
    ids = completion.ids
    return Answer(ids, completion.log_probs, format.decode(ids), ended=bool(ids) and ids[-1] == format.end_id)


def _seed(stream: str, example_id: str, index: int) -> int:
    digest = hashlib.sha256(f"{stream}/{example_id}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1  # generators take 63 bits, so that no two seeds meet
