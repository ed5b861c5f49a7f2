"""The loss by its gradient, and the length scales by hand."""

from __future__ import annotations

import pytest
import torch

from tsallis_run.config import LossConfig
from tsallis_run.loss import length_scale, policy_loss


def test_the_gradient_is_minus_the_coefficient_over_the_number_of_prompts() -> None:
    log_probs = torch.tensor([-1.0, -2.0], requires_grad=True)
    policy_loss(log_probs, torch.tensor([3.0, -4.0]), num_prompts=2).backward()
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == [-1.5, 2.0]


def test_coefficients_are_constants() -> None:
    log_probs, coefficients = torch.tensor([-1.0], requires_grad=True), torch.tensor([3.0], requires_grad=True)
    policy_loss(log_probs, coefficients, num_prompts=1).backward()
    assert coefficients.grad is None


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        ("none", [[1.0, 1.0], [1.0, 1.0]]),
        ("sequence", [[1.0, 0.5], [0.25, 1.0]]),  # 1/|o|; an empty rollout counts as one token
        ("token", [[4 / 7] * 2] * 2),  # 4 rollouts over 1 + 2 + 4 + 0 = 7 tokens
    ],
)
def test_length_scales_by_hand(normalization: str, expected: list[list[float]]) -> None:
    config = LossConfig.model_validate({"length_normalization": normalization})
    scale = length_scale(torch.tensor([[1.0, 2.0], [4.0, 0.0]]), config, mean_tokens=7 / 4)
    torch.testing.assert_close(scale, torch.tensor(expected))


def test_the_token_scale_makes_the_loss_a_mean_over_all_tokens() -> None:
    lengths, advantage = torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, -1.0]])
    scale = length_scale(lengths, LossConfig(length_normalization="token"), mean_tokens=2.0)
    # per-token coefficient advantage / M, times the scale: a sum over 4 tokens becomes a mean over 4 tokens
    per_token = advantage / 2 * scale
    torch.testing.assert_close(per_token, advantage / 4)
