"""One of two ranks that share one vLLM engine, or have one each, for test_teams.

Rank 1's first completions are lost to it alone: the ranks of a team must ask again together.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from small import run_config

from tsallis_run import ranks
from tsallis_run.engine.rollouts import _completed
from tsallis_run.engine.transformers import TransformersEngine
from tsallis_run.engine.vllm import VllmEngine
from tsallis_run.engine.vllm_settings import ServedModel
from tsallis_run.engine.weights import folder_weights
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.types import CompletionRequest, EngineError

PROBE = (5, 6, 7, 8, 9, 10, 11)


def main(file: Path) -> None:
    """Rank 0 asks for three completions and rank 1 for two; writes the ids and how far the log-probs are off."""
    ranks.join()
    size = int(file.stem.removeprefix("team-of-"))
    config = run_config("launch.num_processes=2", f"rollout.tensor_parallel_size={size}")
    folder = model_folder(config.model, seed=0)
    engine = VllmEngine(ServedModel(folder, "float32", 32, trust_remote_code=False), config.rollout)
    engine.load_weights(folder_weights(folder), version=3)
    reference = TransformersEngine(folder, dtype="float32", trust_remote_code=False)
    reference.load_weights(folder_weights(folder), version=3)
    own = [5, 5, 5] if ranks.is_first() else [6, 6]
    requests = [CompletionRequest((first, 7 + index), 4, (1,), 10 * first + index) for index, first in enumerate(own)]
    rows, worst = [], 0.0
    if not ranks.is_first():
        lose_one_call(engine)
    for request, completion in zip(requests, _completed(engine, requests), strict=True):
        sequence = (*request.prompt_ids, *completion.ids)
        scored = reference.score(sequence)[len(request.prompt_ids) - 1 :]
        worst = max(worst, *(abs(a - b) for a, b in zip(scored, completion.log_probs, strict=True)))
        rows.append([*completion.ids, *[-1] * (4 - len(completion.ids))])
    probe = max(abs(a - b) for a, b in zip(engine.score(PROBE), reference.score(PROBE), strict=True))
    found = {"ids": torch.tensor(ranks.gathered(rows)), "worst": torch.tensor(ranks.largest(max(worst, probe)))}
    if ranks.is_first():
        torch.save(found, file)
    ranks.wait_for_all()


def lose_one_call(engine: VllmEngine) -> None:
    """Its next call is made, with the others of the team, and then fails here."""
    generate = engine._generate

    def fail(prompts: Sequence[Sequence[int]], parameters: Sequence[Any]) -> list[Any]:
        generate(prompts, parameters)
        engine._generate = generate  # type: ignore[method-assign]
        raise EngineError("lost here alone")

    engine._generate = fail  # type: ignore[method-assign]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
