"""bad-batches/*.jsonl: the batch of a step that was left out, as ids, so that it can be scored again."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from tsallis_run.tracking.records import RunFolder
from tsallis_run.types import Coefficients, Group


def write_bad_batch(
    folder: RunFolder,
    step: int,
    rank: int,
    groups: Sequence[Group],
    log_p_answer: Float[Tensor, "prompts rollouts"],
    coefficients: Coefficients,
) -> Path:
    """Writes one rollout of a rank a line, and returns the file. NaN and infinities, which JSON lacks, are words.

    Args:
        step: the step that was left out, counted from 1 as in metrics.jsonl.
        log_p_answer: in nats, the trainer's.
        coefficients: the estimator's, shaped like `log_p_answer`.
    """
    rows = [
        {
            "example_id": group.prompt.example.id,
            "prompt_ids": group.prompt.ids,
            "gold_ids": group.prompt.gold_ids,
            "rationale_ids": rollout.rationale,
            "engine_log_probs": [_number(value) for value in rollout.log_probs],
            "bridge_ids": rollout.bridge,
            "answer_ids": rollout.answer.ids if rollout.answer else None,
            "log_p_answer": _number(float(log_p_answer[b, m])),
            "rationale_coefficient": _number(float(coefficients.rationale[b, m])),
            "answer_coefficient": _number(float(coefficients.answer[b, m])),
            "policy_version": rollout.policy_version,
        }
        for b, group in enumerate(groups)
        for m, rollout in enumerate(group.rollouts)
    ]
    path = folder.bad_batches / f"step-{step:06d}-rank-{rank}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows), encoding="utf-8")
    return path


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
