"""One of several ranks, for test_resume_ranks: goes on from a checkpoint, meets bad numbers, and saves."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from policy.rank_worker import LEARNING_RATE, SHARES_OF_MASS, STAGES, backward, trained_policy, work
from policy.test_zero import GROUPS
from small import given, run_config
from torch import Tensor

from tsallis_run import ranks
from tsallis_run.policy.checkpoint import Position, load_checkpoint, newest_checkpoint, save_checkpoint
from tsallis_run.policy.zero import ZeroPolicy

EVEN = SHARES_OF_MASS["unequal work"]
BEFORE, BEHIND = 1, 3
"""ZeRO stages."""


def take_steps(policy: ZeroPolicy, num_steps: int) -> None:
    for _ in range(num_steps):
        backward(policy, EVEN)
        policy.step(LEARNING_RATE)


def save(folder: Path, policy: ZeroPolicy) -> None:
    position = Position(policy.version, None, None, {}, skipped_in_a_row=0, wandb_run_id="abc")
    save_checkpoint(folder, policy, position, run_config())


def opened(folder: Path, stage: int) -> ZeroPolicy:
    checkpoint = newest_checkpoint(folder, print)
    assert checkpoint is not None
    policy = trained_policy(stage)
    load_checkpoint(checkpoint, policy)
    return policy


def weights(policy: ZeroPolicy) -> Tensor:
    return torch.cat([weight.flatten().clone() for _, weight in policy.weights()])


def bad_step(stage: int) -> Tensor:
    """[norm is finite, version, largest change of a weight]: the last rank alone has a number that is not finite."""
    policy = trained_policy(stage)
    before = weights(policy)
    batches, coefficients = work(EVEN)
    if ranks.rank() == ranks.size() - 1:
        coefficients[0][0] = torch.nan
    policy.backward(batches, given(coefficients), num_prompts=len(GROUPS))
    norm = policy.step(LEARNING_RATE)
    change = float((weights(policy) - before).abs().max())
    own = [float(torch.isfinite(torch.tensor(norm))), float(policy.version), change]
    return torch.tensor(ranks.gathered(own))


def main(file: Path) -> None:
    ranks.join()
    found = {f"bad step, stage {stage}": bad_step(stage) for stage in STAGES}
    policy = opened(file.parent / "from-1", BEHIND)
    take_steps(policy, 2)
    found["weights"] = weights(policy)
    save(file.parent / f"from-{ranks.size()}", policy)
    if ranks.is_first():
        torch.save(found, file)
    ranks.wait_for_all()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
