"""One of several ranks, for test_ranks and benchmarks/rank_parity.py: gradients, losses, steps and an evaluation."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from policy.test_zero import COEFFICIENTS, GROUPS, SHARES, full_gradient, policy
from small import given, group, prompt, run_config
from torch import Tensor

from tsallis_run import ranks
from tsallis_run.evaluate import evaluate, evaluation_metrics
from tsallis_run.packing import MicroBatch, micro_batches
from tsallis_run.policy import token_scorer
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.scoring import gold_answers, token_coefficients
from tsallis_run.tree import trees
from tsallis_run.types import Answer, Coefficients, Engine, Group, Prompt, RationaleEnd, Rollout

STAGES = (0, 1, 2, 3)
SHARES_OF_MASS = {"unequal work": torch.ones(2, 1), "all mass on the first": torch.tensor([[1.0], [0.0]])}
NUM_STEPS = 5
LEARNING_RATE = 1e-3


def work(mass: Tensor) -> tuple[list[MicroBatch], list[Tensor]]:
    """Rank 0 works on the first group in many micro-batches, rank 1 on the second in one."""
    coefficients = Coefficients(ranks.share(COEFFICIENTS.rationale * mass), ranks.share(COEFFICIENTS.answer * mass))
    max_tokens = 1 if ranks.is_first() else 4096
    keep = (coefficients.rationale != 0) | (coefficients.answer != 0)
    packed = trees(ranks.share(GROUPS), gold_answers, max_tokens=max_tokens, keep=keep)
    batches = micro_batches(packed, max_tokens=max_tokens)
    return batches, [token_coefficients(batch, coefficients, ranks.share(SHARES)) for batch in batches]


def backward(policy: ZeroPolicy, mass: Tensor) -> float | None:
    """Accumulates the gradient of that work; returns its loss."""
    batches, weights = work(mass)
    return policy.backward(batches, given(weights), num_prompts=len(GROUPS)).loss


def trained_policy(stage: int) -> ZeroPolicy:
    """A policy under ZeRO, the same on any number of ranks."""
    return policy(run_config(f"zero=stage{stage}", f"launch.num_processes={ranks.size()}", "prompts_per_step=2"))


def gradients() -> dict[str, Tensor]:
    """The gradient that reaches the optimizer, and the loss, of every case and stage."""
    found = {}
    for case, mass in SHARES_OF_MASS.items():
        for stage in STAGES:
            trained = trained_policy(stage)
            loss = backward(trained, mass)
            found[f"gradient, {case}, stage {stage}"] = full_gradient(trained)
            found[f"loss, {case}, stage {stage}"] = torch.tensor(loss)
    return found


def steps() -> Tensor:
    """The weights after some steps at stage 3 whose mass lies all on the first rank's prompts."""
    trained = trained_policy(3)
    for _ in range(NUM_STEPS):
        backward(trained, SHARES_OF_MASS["all mass on the first"])
        trained.step(LEARNING_RATE)
    return torch.cat([weight.flatten().clone() for _, weight in trained.weights()])


class GivenAnswers:
    """In place of a sampler: answers of which every third is right."""

    def sample(self, prompts: Sequence[Prompt], *, num_rollouts: int, answers: bool, stream: str) -> list[Group]:
        return [group(p, *(self._rollout(p, m) for m in range(num_rollouts))) for p in ranks.share(prompts)]

    def _rollout(self, asked: Prompt, index: int) -> Rollout:
        text = "a" if (index + len(asked.example.id)) % 3 == 0 else f"b{index % 2}"
        return Rollout((5,), (-1.0,), RationaleEnd.BUDGET, (), Answer((6,), (-1.0,), text, True), 0)


class IdleEngine:
    """In place of an engine that nothing is asked of."""

    def reset_cache(self) -> None: ...


def evaluation() -> Tensor:
    """Metrics of seven examples, a number that two ranks cannot share evenly."""
    config = run_config("evaluation.bootstrap_resamples=50")
    prompts = [prompt((5,), (6,), id="x" * i) for i in range(7)]
    engine: Engine = IdleEngine()  # type: ignore[assignment]
    given = evaluate(engine, GivenAnswers(), prompts, config, "test")  # type: ignore[arg-type]
    return torch.tensor(list(evaluation_metrics(given.graded, config.evaluation, seed=0).values()), dtype=torch.float64)


def main(file: Path) -> None:
    ranks.join()
    token_scorer.TOKENS_PER_CHUNK = 4  # ranks differ in their number of chunks as well
    found = {**gradients(), "weights behind steps": steps(), "evaluation": evaluation()}
    if ranks.is_first():
        torch.save(found, file)
    ranks.wait_for_all()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
