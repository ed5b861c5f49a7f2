"""A server's JSON -> what was asked for, or an error where it is nonsense."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tsallis_run.types import Completion, CompletionRequest, EngineError


class LostRequestError(RuntimeError):
    """The server dropped the request; asked again, it may answer."""


def completion_of(answer: Any, request: CompletionRequest, *, vocabulary: int) -> Completion:
    """The completion in an answer of /v1/completions.

    Raises:
        LostRequestError: where the server dropped the request.
        EngineError: where the answer is none to this request.
    """
    choice = _only_choice(answer)
    ids = _ids(choice.get("token_ids"), vocabulary)
    log_probs = _log_probs((choice.get("logprobs") or {}).get("token_logprobs"))
    ended = len(ids) == request.max_tokens or (bool(ids) and ids[-1] in request.stop_ids)
    if not ended or len(ids) > request.max_tokens:
        raise EngineError(f"a worker ended a completion after {len(ids)} of {request.max_tokens} tokens: {ids[-3:]}")
    if len(log_probs) != len(ids):
        raise EngineError(f"a worker returned {len(log_probs)} log-probs for {len(ids)} tokens")
    return Completion(ids, log_probs)


def scores_of(answer: Any, ids: Sequence[int]) -> list[float]:
    """The log-probs of a prompt's tokens, from the second on; raises as `completion_of`."""
    rows = _only_choice(answer).get("prompt_logprobs")
    if not isinstance(rows, list) or len(rows) != len(ids):
        raise EngineError(f"a worker scored something else than the {len(ids)} tokens it was given")
    told = [(row or {}).get(str(id), {}).get("logprob") for row, id in zip(rows[1:], ids[1:], strict=True)]
    return list(_log_probs(told))


def _only_choice(answer: Any) -> dict[str, Any]:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise EngineError(f"a worker returned something else than one completion: {str(answer)[:200]}")
    choice: dict[str, Any] = choices[0]
    if choice.get("finish_reason") not in ("stop", "length"):
        raise LostRequestError(f"finish_reason {choice.get('finish_reason')}")
    return choice


def _ids(values: Any, vocabulary: int) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(type(id) is int and 0 <= id < vocabulary for id in values):
        raise EngineError(f"a worker returned ids outside the vocabulary of {vocabulary}: {str(values)[:200]}")
    return tuple(values)


def _log_probs(values: Any) -> tuple[float, ...]:
    if not isinstance(values, list) or not all(isinstance(v, float | int) and math.isfinite(v) for v in values):
        raise EngineError(f"a worker returned log-probs that are no numbers: {str(values)[:200]}")
    return tuple(float(value) for value in values)
