"""The trainer without an engine beside it, once warm, and what products of few rows cost beside products of many.

    python benchmarks/trainer_alone.py [--estimator garl] [key=value ...]

4 groups of 8 rollouts of 70 tokens over prompts of 44 tokens through score and backward, behind steps that warm up;
and the linears of 30 layers by themselves, over as many rows as decoding has, and as the trainer has.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence

import torch
from against_trl import trainer_gflops
from growth import drawn
from one_step import run_config
from random_groups import random_groups
from side_by_side import AS_A_RANK, Numbers, machine

from tsallis_run import ranks
from tsallis_run.batch import plan_of
from tsallis_run.learning import learn
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.policy.token_scorer import load_scorer
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.tracking.clock import Clock

NUM_WARM_UP = 5
NUM_DISTINCT = 2
"""Rationales of a group that PAFT trains."""
SHAPES = ((960, 576), (576, 576), (3072, 576), (576, 1536))
"""Outputs and inputs of the linears of a layer of SmolLM2-135M, as vLLM puts them together."""
NUM_LAYERS = 30
ROWS = (32, 648, 2592)


def trainer(estimator: str, overrides: Sequence[str]) -> None:
    config = run_config(["model=smollm2_135m", f"estimator={estimator}", "prompts_per_step=4", *overrides])
    ranks.join()
    scorer = load_scorer(model_folder(config.model, seed=0), config.model)
    groups = random_groups(scorer.model.config.vocab_size)
    policy, plan = ZeroPolicy(scorer, config), plan_of(0, config)
    plan = drawn(plan, NUM_DISTINCT) if estimator == "paft" else plan

    def step() -> Numbers:
        clock = Clock(lambda phase: None)
        work = learn(policy, groups, plan, config, clock).work
        policy.step(1e-6)
        return {**work, **clock.row()}

    for _ in range(NUM_WARM_UP):
        step()
    row = step()
    seconds = row["score_seconds"] + row["backward_seconds"]
    print(f"{estimator}: {seconds:.2f} s, {trainer_gflops(row):.0f} GFLOP/s by 6 N a trained and 2 N a scored token")


def linears() -> None:
    weights = [torch.randn(shape) for _ in range(NUM_LAYERS) for shape in SHAPES]
    size = sum(weight.numel() for weight in weights)
    for rows in ROWS:
        inputs = {columns: torch.randn(rows, columns) for _, columns in SHAPES}
        taken = []
        for _ in range(5):
            begun = time.perf_counter()
            for weight in weights:
                torch.nn.functional.linear(inputs[weight.shape[1]], weight)
            taken.append(time.perf_counter() - begun)
        rate = 1e-9 * size / min(taken)
        print(f"linears of {rows:5} rows: {2 * rows * rate:4.0f} GFLOP/s, {4 * rate:5.1f} GB/s of weights")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--estimator", choices=("garl", "paft"), default="garl")
    parser.add_argument("--as-a-rank", action="store_true", help=argparse.SUPPRESS)
    given, overrides = parser.parse_known_args()
    if not given.as_a_rank:
        environment = {**os.environ, "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
        command = [*AS_A_RANK, __file__, *sys.argv[1:], "--as-a-rank"]
        raise SystemExit(subprocess.run(command, env=environment).returncode)
    print(machine())
    linears()
    trainer(given.estimator, overrides)


if __name__ == "__main__":
    main()
