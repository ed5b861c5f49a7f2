"""The gradient that reaches the optimizer through DeepSpeed, and what is saved of the policy."""

from __future__ import annotations

import math
from pathlib import Path

import deepspeed
import pytest
import torch
from safetensors.torch import load_file
from small import given, group, plain_model, prompt, rollout, run_config
from torch import Tensor

from tsallis_run.config import RunConfig
from tsallis_run.packing import micro_batches
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.policy.token_scorer import load_scorer
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.scoring import gold_answers, token_coefficients
from tsallis_run.tree import trees
from tsallis_run.types import Coefficients

ROUNDING = 1e-6
"""float32 gradients summed in another order, relative to the largest entry."""

BFLOAT16_ROUNDING = 2**-6
"""Of activations and gradients that are computed in other shapes."""

GROUPS = [
    group(prompt((5, 6, 7), (8, 1), (9, 10, 1)), rollout((11, 12), (3,)), rollout((), (3,)), rollout((13, 3))),
    group(prompt((6, 6), (14, 1), id="two"), rollout((15,), (3,)), rollout((16, 17, 18), (3,)), rollout((19, 1), (3,))),
]
COEFFICIENTS = Coefficients(
    torch.tensor([[0.5, 0.0, -0.25], [1.0, 0.75, 0.0]]), torch.tensor([[0.5, 0.125, 0.25], [1.0, 0.0, 0.0]])
)
SHARES = torch.tensor([[[0.25, 0.75]] * 3, [[1.0, 0.0]] * 3])


def policy(config: RunConfig) -> ZeroPolicy:
    return ZeroPolicy(load_scorer(model_folder(config.model, seed=0), config.model), config)


def accumulate(policy: ZeroPolicy, *, max_tokens: int, keep_all: bool = True, scale: float = 1.0) -> None:
    keep = None if keep_all else (COEFFICIENTS.rationale != 0) | (COEFFICIENTS.answer != 0)
    batches = micro_batches(trees(GROUPS, gold_answers, max_tokens=max_tokens, keep=keep), max_tokens=max_tokens)
    weights = [scale * token_coefficients(batch, COEFFICIENTS, SHARES) for batch in batches]
    policy.backward(batches, given(weights), num_prompts=len(GROUPS))


def full_gradient(policy: ZeroPolicy) -> Tensor:
    weights = [weight for _, weight in policy.named_weights()]
    return torch.cat([deepspeed.utils.safe_get_full_grad(weight).flatten() for weight in weights])


def gradient(config: RunConfig, *, max_tokens: int, keep_all: bool = True) -> Tensor:
    fresh = policy(config)
    accumulate(fresh, max_tokens=max_tokens, keep_all=keep_all)
    return full_gradient(fresh)


def autograd_gradient() -> Tensor:
    """Of - sum_m (a_m log p(z_m|x) + b_m sum_k share_k log p(y_k|x,z_m)) / B, over separate sequences."""
    model = plain_model()

    def log_p(context: tuple[int, ...], ids: tuple[int, ...]) -> Tensor:
        if not ids:
            return torch.zeros(())
        logits = model(torch.tensor([context + ids])).logits[0, len(context) - 1 : -1]
        return logits.log_softmax(-1)[range(len(ids)), ids].sum()

    loss = torch.zeros(())
    for b, one in enumerate(GROUPS):
        for m, r in enumerate(one.rollouts):
            loss = loss - COEFFICIENTS.rationale[b, m] * log_p(one.prompt.ids, r.rationale)
            stem = one.prompt.ids + r.rationale + r.bridge
            for k, gold in enumerate(one.prompt.gold_ids):
                loss = loss - COEFFICIENTS.answer[b, m] * SHARES[b, m, k] * log_p(stem, gold)
    (loss / len(GROUPS)).backward()
    return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert (ours - theirs).abs().max() <= ROUNDING * theirs.abs().max()


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_the_optimizer_gets_the_gradient_of_the_definition_at_every_zero_stage(stage: int) -> None:
    assert_same(gradient(run_config(f"zero=stage{stage}"), max_tokens=4096), autograd_gradient())


@pytest.mark.parametrize("max_tokens", [1, 12, 25])
@pytest.mark.parametrize("stage", [0, 2])
def test_the_gradient_does_not_depend_on_the_micro_batch_size(stage: int, max_tokens: int) -> None:
    config = run_config(f"zero=stage{stage}")
    assert_same(gradient(config, max_tokens=max_tokens), gradient(config, max_tokens=4096))


@pytest.mark.parametrize("stage", [2, 3])  # at stage 1 DeepSpeed shows its sums rounded to bfloat16
def test_bfloat16_gradients_are_summed_in_float32(stage: int) -> None:
    config = run_config(f"zero=stage{stage}", "model.dtype=bfloat16")
    many, one = gradient(config, max_tokens=1), gradient(config, max_tokens=4096)
    assert not torch.equal(many, many.bfloat16().float())
    assert (many - one).norm() <= BFLOAT16_ROUNDING * one.norm()


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_bfloat16_weights_take_the_same_step_at_every_stage(stage: int) -> None:
    norms = []
    for config in (run_config(f"zero=stage{stage}", "model.dtype=bfloat16"), run_config("zero=stage2")):
        fresh = policy(config)
        accumulate(fresh, max_tokens=12)
        norms.append(fresh.step(1e-3))
    assert norms[0] == pytest.approx(norms[1], rel=BFLOAT16_ROUNDING)


def test_rollouts_without_a_coefficient_can_be_left_out() -> None:
    config = run_config()
    assert_same(gradient(config, max_tokens=4096, keep_all=False), gradient(config, max_tokens=4096))


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_step_returns_the_norm_of_that_gradient_before_clipping(stage: int) -> None:
    config = run_config(f"zero=stage{stage}", "optimizer.max_grad_norm=1e-3")
    fresh = policy(config)
    accumulate(fresh, max_tokens=4096)
    expected = full_gradient(fresh).norm().item()
    assert fresh.step(1e-3) == pytest.approx(expected, rel=1e-4)
    assert fresh.version == 1


def test_without_a_coefficient_there_is_no_backward() -> None:
    fresh = policy(run_config())
    batches = micro_batches(trees(GROUPS, gold_answers, max_tokens=99), max_tokens=99)
    assert fresh.backward(batches, given([]), num_prompts=2).loss is None


@pytest.mark.parametrize("stage", [1, 3])
def test_the_saved_model_holds_the_trained_weights(stage: int, tmp_path: Path) -> None:
    fresh = policy(run_config(f"zero=stage{stage}"))
    accumulate(fresh, max_tokens=4096)
    fresh.step(1e-3)
    fresh.save_model(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    trained = {name: weight.clone() for name, weight in fresh.weights()}
    assert saved.keys() == trained.keys()
    assert all(torch.equal(saved[name], trained[name]) for name in saved)
    untrained = load_file(model_folder(run_config().model, seed=0) / "model.safetensors")
    assert any(not torch.equal(saved[name], untrained[name]) for name in saved)


def state(policy: ZeroPolicy) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in policy.state()}


def whole_weights(policy: ZeroPolicy) -> Tensor:
    return torch.cat([weight.flatten().clone() for _, weight in policy.weights()])


PRECISIONS = [(0, "float32"), (1, "float32"), (2, "float32"), (3, "float32")]
PRECISIONS += [(1, "bfloat16"), (2, "bfloat16"), (3, "bfloat16")]


@pytest.mark.parametrize(("stage", "dtype"), PRECISIONS)
def test_a_restored_policy_takes_the_same_next_steps_to_the_bit(stage: int, dtype: str) -> None:
    config = run_config(f"zero=stage{stage}", f"model.dtype={dtype}")
    first, second = policy(config), policy(config)
    accumulate(first, max_tokens=4096)
    first.step(1e-3)
    saved = state(first)
    second.load_state(saved.__getitem__, first.version)
    assert torch.equal(whole_weights(first), whole_weights(second))
    for one in (first, second):
        for _ in range(2):
            accumulate(one, max_tokens=4096)
            one.step(1e-3)
    assert first.version == second.version == 3
    theirs = state(second)
    assert all(torch.equal(value, theirs[name]) for name, value in state(first).items())
    assert torch.equal(whole_weights(first), whole_weights(second))


@pytest.mark.parametrize(("before", "behind"), [(0, 3), (1, 0), (1, 3), (3, 2)])
def test_a_policy_goes_on_at_another_zero_stage(before: int, behind: int) -> None:
    first, second = (policy(run_config(f"zero=stage{stage}")) for stage in (before, behind))
    accumulate(first, max_tokens=4096)
    first.step(1e-3)
    second.load_state(state(first).__getitem__, first.version)
    for one in (first, second):
        accumulate(one, max_tokens=4096)
        one.step(1e-3)
    ours, theirs = state(first), state(second)
    assert all((ours[name] - theirs[name]).norm() <= 1e-5 * ours[name].norm() for name in ours)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_step_is_as_long_as_the_learning_rate_it_is_given(stage: int) -> None:
    fresh = policy(run_config(f"zero=stage{stage}"))
    places = [whole_weights(fresh)]
    for learning_rate in (0.0, 1e-3):
        accumulate(fresh, max_tokens=4096)
        fresh.step(learning_rate)
        places.append(whole_weights(fresh))
    start, still, moved = places
    assert torch.equal(start, still)
    # Behind two steps with the same gradient Adam's corrected moments are g and g^2: a step of lr * sign(g).
    assert (moved - still).abs().max().item() == pytest.approx(1e-3, rel=1e-3)


def test_a_policy_that_took_no_step_is_restored_without_moments() -> None:
    first, second = policy(run_config("zero=stage2")), policy(run_config("zero=stage3"))
    assert all(name.startswith("weight/") for name in state(first))
    second.load_state(state(first).__getitem__, 0)
    accumulate(second, max_tokens=4096)
    second.step(1e-3)
    assert second.version == 1


@pytest.mark.parametrize(
    ("stage", "dtype", "poison"), [*((*precision, torch.nan) for precision in PRECISIONS), (2, "float32", torch.inf)]
)
def test_a_gradient_that_is_not_finite_is_forgotten_without_a_step(stage: int, dtype: str, poison: float) -> None:
    config = run_config(f"zero=stage{stage}", f"model.dtype={dtype}")
    struck, spared = policy(config), policy(config)
    for one in (struck, spared):
        accumulate(one, max_tokens=12)
        one.step(1e-3)
    before = state(struck)
    assert not math.isfinite(poisoned_step(struck, poison))
    assert struck.version == 1
    behind = state(struck)
    assert all(torch.equal(value, behind[name]) for name, value in before.items())
    for one in (struck, spared):
        accumulate(one, max_tokens=12)
        one.step(1e-3)
    theirs = state(spared)
    assert all(torch.equal(value, theirs[name]) for name, value in state(struck).items())


def poisoned_step(policy: ZeroPolicy, poison: float) -> float:
    """A step on a batch of several micro-batches, in which one coefficient of one is not finite."""
    batches = micro_batches(trees(GROUPS, gold_answers, max_tokens=12), max_tokens=12)
    weights = [token_coefficients(batch, COEFFICIENTS, SHARES) for batch in batches]
    weights[0][0] = poison
    policy.backward(batches, given(weights), num_prompts=len(GROUPS))
    return policy.step(1e-3)


def test_a_weight_that_is_not_finite_is_found_at_every_stage() -> None:
    for stage in (0, 1, 3):
        fresh = policy(run_config(f"zero=stage{stage}"))
        assert fresh.is_finite()
        with torch.no_grad():
            _, weight = next(iter(fresh.named_weights()))
            getattr(weight, "ds_tensor", weight).view(-1)[3] = torch.inf
        assert not fresh.is_finite()
