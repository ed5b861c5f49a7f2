"""What DeepSpeed costs on one rank: the same forward, backward and step under ZeRO and in a plain loop of torch.

    python benchmarks/deepspeed_cost.py [--model smollm2_135m] [--steps 3] [--warm-up 3] [--contenders plain 0 1 2 3]

4 groups of 8 rollouts of 70 tokens over prompts of 44 tokens, all trained.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import torch
from one_step import run_config
from random_groups import random_groups
from side_by_side import AS_A_RANK, Numbers, answer, machine, medians

from tsallis_run.config import RunConfig
from tsallis_run.loss import policy_loss
from tsallis_run.packing import MicroBatch, micro_batches
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.policy.optimizer import build_optimizer
from tsallis_run.policy.token_scorer import load_scorer
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.scoring import gold_answers
from tsallis_run.tree import trees

PLAIN = "plain"
LEARNING_RATE = 1e-5


def contender(name: str, config: RunConfig) -> Callable[[], Numbers]:
    scorer = load_scorer(model_folder(config.model, seed=0), config.model)
    groups, max_tokens = random_groups(scorer.model.config.vocab_size), config.optimizer.micro_batch_tokens
    batches = micro_batches(trees(groups, gold_answers, max_tokens=max_tokens), max_tokens=max_tokens)
    if name == PLAIN:
        optimizer = build_optimizer(scorer.parameters(), config.optimizer)

        def step() -> None:
            for batch in batches:
                policy_loss(scorer(batch=batch), coefficients(batch), num_prompts=len(groups)).backward()
            torch.nn.utils.clip_grad_norm_(scorer.parameters(), config.optimizer.max_grad_norm or torch.inf)
            optimizer.step()
            optimizer.zero_grad()
    else:
        policy = ZeroPolicy(scorer, config)

        def step() -> None:
            policy.backward(batches, lambda batch, log_probs: coefficients(batch), num_prompts=len(groups))
            policy.step(LEARNING_RATE)

    def timed() -> Numbers:
        begun = time.perf_counter()
        step()
        return {"seconds": time.perf_counter() - begun}

    return timed


def coefficients(batch: MicroBatch) -> torch.Tensor:
    return torch.full((batch.num_scored,), 0.1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2_135m")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=3, help="steps ahead of those")
    parser.add_argument("--contenders", nargs="+", default=[PLAIN, "0", "1", "2", "3"])
    parser.add_argument("--micro-batch-tokens", type=int, default=4096)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    given = parser.parse_args()
    settings = [f"model={given.model}", f"optimizer.micro_batch_tokens={given.micro_batch_tokens}"]
    if given.contender:
        stage = "0" if given.contender == PLAIN else given.contender
        answer(contender(given.contender, run_config([*settings, f"zero=stage{stage}", "optimizer=adamw"])))
        return
    own = [*AS_A_RANK, __file__, *sys.argv[1:]]
    commands = {name: [*own, "--contender", name] for name in given.contenders}
    found = medians(commands, given.steps, given.warm_up)
    print(f"{machine()}; {given.model}, float32, micro-batches of {given.micro_batch_tokens} tokens")
    print(f"{'ZeRO stage':>11}{'s/step':>9}{'/ plain':>9}{'peak GB':>9}")
    for name, row in found.items():
        ratio = row["seconds"] / found[PLAIN]["seconds"]
        print(f"{name:>11}{row['seconds']:9.2f}{ratio:9.2f}{row['peak_gb']:9.1f}")


if __name__ == "__main__":
    main()
