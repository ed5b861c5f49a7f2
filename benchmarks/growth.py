"""How the trainer's seconds and memory grow: with M, prompt, rationale, and what PAFT drew.

    python benchmarks/growth.py [--steps 2] [key=value ...]

One prompt and its rollouts, scored and trained as a step does it, in a process for each row; the model is
SmolLM2-135M in float32 unless `model=...` says otherwise. GARL keeps the scoring forward pass; PAFT scores, then trains
what it drew. Without sampling: the tokens are random, and PAFT's weights are made so that it draws a given number.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from one_step import run_config
from random_groups import random_groups
from side_by_side import AS_A_RANK, machine, peak_gb

from tsallis_run import ranks
from tsallis_run.batch import StepPlan, plan_of
from tsallis_run.estimators.log_weights import LogWeights
from tsallis_run.learning import learn
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.policy.token_scorer import load_scorer
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.tracking.clock import Clock
from tsallis_run.types import Coefficients


class Size(NamedTuple):
    """One row of the table."""

    estimator: str
    num_rollouts: int = 8
    prompt_tokens: int = 128
    rationale_tokens: int = 64
    num_distinct: int = 2
    """Rationales that PAFT trains."""


SIZES = (
    *(Size("garl", num_rollouts=m) for m in (4, 8, 16, 32)),
    *(Size("paft", num_rollouts=m) for m in (4, 8, 16, 32)),
    *(Size("paft", num_rollouts=32, num_distinct=distinct) for distinct in (1, 8, 32)),
    *(Size("garl", prompt_tokens=tokens) for tokens in (64, 512, 2048)),
    *(Size("garl", rationale_tokens=tokens) for tokens in (32, 256, 512)),
)


NUM_WARM_UP = 2


def drawn(plan: StepPlan, num_distinct: int) -> StepPlan:
    """A plan whose resampling draws the first rationales, each as often."""

    def estimate(signal: LogWeights, generator: torch.Generator, log_ratio: LogWeights | None) -> Coefficients:
        share = (torch.arange(signal.shape[-1]) < num_distinct).double().expand_as(signal) / num_distinct
        return Coefficients(share, share)

    return replace(plan, estimator=estimate)


def measure(size: Size, overrides: Sequence[str], num_steps: int) -> str:
    config = run_config(["model=smollm2_135m", f"estimator={size.estimator}", "prompts_per_step=1", *overrides])
    ranks.join()
    scorer = load_scorer(model_folder(config.model, seed=0), config.model)
    groups = random_groups(
        scorer.model.config.vocab_size,
        num_prompts=1,
        num_rollouts=size.num_rollouts,
        prompt_tokens=size.prompt_tokens,
        rationale_tokens=size.rationale_tokens,
    )
    policy, clock, plan = ZeroPolicy(scorer, config), Clock(lambda phase: None), plan_of(0, config)
    plan = drawn(plan, size.num_distinct) if size.estimator == "paft" else plan
    seconds, work = [], {}
    for _ in range(NUM_WARM_UP + num_steps):
        begun = time.perf_counter()
        work = learn(policy, groups, plan, config, clock).work
        policy.step(1e-5)
        seconds.append(time.perf_counter() - begun)
    distinct = f"{size.num_distinct:9}" if size.estimator == "paft" else f"{size.num_rollouts:9}"
    return (
        f"{size.estimator:10}{size.num_rollouts:4}{size.prompt_tokens:8}{size.rationale_tokens:11}{distinct}"
        f"{work['scored_tokens']:8.0f}{work['trained_tokens']:9.0f}{statistics.median(seconds[NUM_WARM_UP:]):9.2f}{peak_gb():9.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    given, overrides = parser.parse_known_args()
    if given.row is not None:
        print("\n" + measure(SIZES[given.row], overrides, given.steps))
        return
    print(machine())
    print(
        f"{'estimator':10}{'M':>4}{'prompt':>8}{'rationale':>11}{'trained':>9}{'scored':>8}{'trained':>9}"
        f"{'s/step':>9}{'peak GB':>9}"
    )
    print(f"{'':10}{'':4}{'tokens':>8}{'tokens':>11}{'of M':>9}{'tokens':>8}{'tokens':>9}")
    threads = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
    for row in range(len(SIZES)):
        command = [*AS_A_RANK, __file__, "--row", str(row), "--steps", str(given.steps), *overrides]
        ended = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **threads})
        print(ended.stdout.splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
