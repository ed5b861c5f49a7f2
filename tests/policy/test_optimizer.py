"""Each optimizer under ZeRO takes its own step, and goes on from a checkpoint to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from policy.test_zero import accumulate, full_gradient, policy
from small import run_config
from torch import Tensor

from tsallis_run.policy.checkpoint import Position, load_checkpoint, newest_checkpoint, save_checkpoint
from tsallis_run.policy.optimizer import build_optimizer, gradient_scale
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.types import UserError

STAGES = (0, 1, 2, 3)
RATE = 0.5
ROUNDING = 1e-6
PLAIN = ("optimizer=sgd", "optimizer.max_grad_norm=null")
MOMENTUM = (*PLAIN, "optimizer.momentum=0.5")


def weights(trained: ZeroPolicy) -> Tensor:
    return torch.cat([weight.flatten().clone() for _, weight in trained.weights()])


def step(trained: ZeroPolicy) -> tuple[Tensor, Tensor]:
    """Takes a step, and returns the gradient and the change of the weights."""
    before = weights(trained)
    accumulate(trained, max_tokens=4096)
    gradient = full_gradient(trained)
    trained.step(RATE)
    return gradient, weights(trained) - before


@pytest.mark.parametrize("stage", STAGES)
def test_sgd_moves_the_weights_by_rate_times_gradient(stage: int) -> None:
    gradient, change = step(policy(run_config(*PLAIN, f"zero=stage{stage}")))
    torch.testing.assert_close(change, -RATE * gradient, atol=ROUNDING, rtol=1e-4)


def test_momentum_carries_its_share_of_the_last_step_on() -> None:
    trained = policy(run_config(*MOMENTUM))
    _, first = step(trained)
    gradient, second = step(trained)
    torch.testing.assert_close(second, 0.5 * first - RATE * gradient, atol=ROUNDING, rtol=1e-4)


def test_weight_decay_takes_its_share_off_each_weight() -> None:
    trained = policy(run_config(*PLAIN, "optimizer.weight_decay=0.1"))
    before = weights(trained)
    gradient, change = step(trained)
    torch.testing.assert_close(change, -RATE * (gradient + 0.1 * before), atol=ROUNDING, rtol=1e-4)


def test_a_long_gradient_is_clipped_to_a_step_of_the_rate() -> None:
    gradient, change = step(policy(run_config("optimizer=sgd", "optimizer.max_grad_norm=1e-3")))
    assert float(gradient.norm()) > 1e-3
    assert float(change.norm()) == pytest.approx(RATE * 1e-3, rel=1e-3)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("optimizer", [PLAIN, MOMENTUM], ids=["plain", "momentum"])
def test_sgd_goes_on_from_a_checkpoint_to_the_bit(optimizer: tuple[str, ...], stage: int, tmp_path: Path) -> None:
    config = run_config(*optimizer, f"zero=stage{stage}")
    trained = policy(config)
    step(trained)
    save(trained, tmp_path)
    step(trained)
    resumed = opened(tmp_path, *optimizer, f"zero=stage{stage}")
    step(resumed)
    assert weights(resumed).equal(weights(trained))


def test_momentum_saved_at_one_stage_goes_on_at_another(tmp_path: Path) -> None:
    trained = policy(run_config(*MOMENTUM, "zero=stage1"))
    step(trained)
    save(trained, tmp_path)
    step(trained)
    resumed = opened(tmp_path, *MOMENTUM, "zero=stage3")
    step(resumed)
    torch.testing.assert_close(weights(resumed), weights(trained), atol=1e-5, rtol=0)


def test_an_optimizer_that_the_checkpoint_knows_nothing_of_is_refused(tmp_path: Path) -> None:
    trained = policy(run_config(*PLAIN))
    step(trained)
    save(trained, tmp_path)
    with pytest.raises(UserError, match=r"optimizer.name: must be the one of .*step-000001.* keeps exp_avg"):
        opened(tmp_path, "optimizer=adamw")


def test_a_tiny_epsilon_is_scaled_with_its_gradient_and_no_other_is() -> None:
    # sqrt of the smallest exact square is 2^-63 = 1.08e-19; 2^37 * 1e-30 = 1.37e-19
    assert [gradient_scale(epsilon) for epsilon in (1e-8, 1e-15, 2e-19, 1e-30)] == [1, 1, 1, 2**37]


def test_the_scale_changes_no_step_where_squares_are_exact() -> None:
    """To the bit, over gradients from 1e-12 to 1e6."""
    gradients = torch.logspace(-12, 6, 64) * torch.tensor([1.0, -1.0]).repeat(32)
    config = run_config("optimizer.epsilon=1e-25").optimizer
    plain, scaled = torch.ones(64, requires_grad=True), torch.ones(64, requires_grad=True)
    optimizers = (
        torch.optim.AdamW([plain], lr=1e-3, weight_decay=0, eps=1e-25, fused=True),
        build_optimizer([scaled], config),
    )
    for share in (1.0, 0.3, -0.7):
        for weight, optimizer in zip((plain, scaled), optimizers, strict=True):
            weight.grad = share * gradients
            optimizer.step()
    assert plain.detach().equal(scaled.detach())


@pytest.mark.parametrize("stage", [0, 1, 3])
def test_adam_with_the_smallest_epsilon_moves_where_the_gradient_is_tiny(stage: int) -> None:
    """A gradient of 1e-14: over an epsilon of 1e-8 it moves nothing, over 1e-30 every weight by the rate."""
    moved = {}
    for epsilon in ("1e-8", "1e-30"):
        trained = policy(run_config(f"optimizer.epsilon={epsilon}", f"zero=stage{stage}"))
        before = weights(trained)
        accumulate(trained, max_tokens=4096, scale=1e-14)
        trained.step(RATE)
        moved[epsilon] = float((weights(trained) - before).abs().max())
    assert moved["1e-8"] < 1e-5
    assert moved["1e-30"] == pytest.approx(RATE, rel=1e-3)


def save(trained: ZeroPolicy, folder: Path) -> None:
    position = Position(trained.version, None, None, {}, skipped_in_a_row=0, wandb_run_id="abc")
    save_checkpoint(folder, trained, position, run_config())


def opened(folder: Path, *overrides: str) -> ZeroPolicy:
    checkpoint = newest_checkpoint(folder, print)
    assert checkpoint is not None
    resumed = policy(run_config(*overrides))
    load_checkpoint(checkpoint, resumed)
    return resumed
