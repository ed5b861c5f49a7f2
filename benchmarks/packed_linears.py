"""What packed linears gain in generation: the same prompts sampled in turn with plain and with packed ones.

    python benchmarks/packed_linears.py [--repeats 6]

SmolLM2-135M in float32, 4 prompts of 44 tokens x 8 rollouts x 64 tokens, in one engine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import defaultdict
from typing import Any

import torch
from one_step import run_config
from side_by_side import machine

from tsallis_run import ranks
from tsallis_run.engine.packed_linears import _linears
from tsallis_run.engine.vllm import VllmEngine
from tsallis_run.engine.vllm_settings import ServedModel
from tsallis_run.engine.weights import folder_weights
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.types import CompletionRequest

LONGEST_TOKENS = 256


def requests(repeat: int) -> list[CompletionRequest]:
    prompts = [tuple((7 * token + 13 * prompt) % 4000 + 100 for token in range(44)) for prompt in range(4)]
    return [
        CompletionRequest(ids, 64, (), seed=100 * repeat + 8 * index + rollout)
        for index, ids in enumerate(prompts)
        for rollout in range(8)
    ]


def products_of(model: Any) -> dict[str, list[Any]]:
    """What the linears compute with: packed as they are now, and plain over unpacked copies of the weights."""
    linears = _linears(model)
    packed = [linear.cpu_linear for linear in linears]
    weights = [
        linear.cpu_linear(torch.eye(linear.input_size_per_partition), None, None).T.contiguous() for linear in linears
    ]
    plain = [lambda x, _, bias, weight=weight: torch.nn.functional.linear(x, weight, bias) for weight in weights]
    return {"plain": plain, "packed": packed}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=6)
    given = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    ranks.join()
    config = run_config(["model=smollm2_135m", "rollout=vllm"])
    folder = model_folder(config.model, seed=0)
    engine = VllmEngine(ServedModel(folder, "float32", LONGEST_TOKENS, trust_remote_code=False), config.rollout)
    engine.load_weights(folder_weights(folder), version=0)
    (products,) = engine._llm.apply_model(products_of)
    seconds = defaultdict(list)
    for repeat in range(1 + given.repeats):
        for name, computed in products.items():

            def choose(model: Any, computed: list[Any] = computed) -> None:
                for linear, product in zip(_linears(model), computed, strict=True):
                    linear.cpu_linear = product

            engine._llm.apply_model(choose)
            engine.reset_cache()
            begun = time.perf_counter()
            engine.complete(requests(repeat))
            seconds[name].append(time.perf_counter() - begun)
    print(machine())
    for name, taken in seconds.items():
        print(f"{name:8}{statistics.median(taken[1:]):6.2f} s  (lowest {min(taken[1:]):.2f})")


if __name__ == "__main__":
    main()
