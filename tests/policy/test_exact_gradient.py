"""The mean gradient that reaches the optimizer equals the exact one, for every estimator, through a real transformer.

The model knows three tokens, and a rationale is two of them: nine rationales, listed whole, so that every group of
two has a known probability and an expectation is a sum. The whole way is taken: scoring, estimating, weighing the
tokens, backward under DeepSpeed. The other side differentiates the definitions in float64, without any coefficient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import deepspeed
import pytest
import torch
from small import group, run_config
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from tsallis_run.batch import plan_of
from tsallis_run.config import RunConfig
from tsallis_run.estimators.choose import Estimator
from tsallis_run.estimators.paft import attenuate, resampling_probabilities
from tsallis_run.learning import learn
from tsallis_run.policy.token_scorer import load_scorer
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.tracking.clock import Clock
from tsallis_run.types import Answer, Coefficients, Example, Group, Prompt, RationaleEnd, Rollout

LARGEST_DIFFERENCE = 2e-6
"""Of any entry, relative to the largest one; measured 1.2e-6. The optimizer's side computes in float32."""

TOKENS = range(3)
PROMPT, BRIDGE = (0, 1), (2,)
GOLDS = ((1, 2), (0, 0))
RATIONALES = list(product(TOKENS, repeat=2))
ANSWERS = [(token,) for token in TOKENS]
"""For rewards. The first alone is right."""
PAIRS = list(product(range(len(RATIONALES)), repeat=2))
MICRO_BATCHES = [1, 60, 4096]
"""Tokens: one rollout at a time, scored first; a few groups and many, whose forward pass is kept."""

Gradient = Tensor
Settings = tuple[str, ...]


@dataclass(frozen=True)
class Exact:
    """The model in float64, and the log-probs of all that it can write."""

    model: Qwen3ForCausalLM

    def log_p_rationales(self) -> Tensor:
        """log p(z), [rationales]."""
        return self._log_p([(*PROMPT, *z) for z in RATIONALES], num_scored=2)

    def log_p_answers(self, answers: Sequence[tuple[int, ...]]) -> Tensor:
        """log p(answer|z), [rationales, answers]."""
        rows = [(*PROMPT, *z, *BRIDGE, *answer) for z in RATIONALES for answer in answers]
        return self._log_p(rows, num_scored=len(answers[0])).reshape(len(RATIONALES), -1)

    def gradient(self, objective: Tensor) -> Gradient:
        """With respect to every weight, in one vector."""
        return torch.cat([part.flatten() for part in torch.autograd.grad(objective, list(self.model.parameters()))])

    def _log_p(self, rows: Sequence[tuple[int, ...]], num_scored: int) -> Tensor:
        ids = torch.tensor(rows)
        log_probs = self.model(ids).logits[:, -num_scored - 1 : -1].log_softmax(-1)
        return log_probs.gather(-1, ids[:, -num_scored:, None]).sum((-2, -1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three tokens; its weights are large, so that it prefers some rationales."""
    path = tmp_path_factory.mktemp("three-tokens")
    config = Qwen3Config(
        vocab_size=len(TOKENS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        initializer_range=0.3,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Qwen3ForCausalLM(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def exact(folder: Path) -> Exact:
    return Exact(Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float64))


def mean_of_groups(exact: Exact, config: RunConfig, *, answer_term: bool = True, jackknife: bool = False) -> Tensor:
    """What GARL differentiates, over all groups: P-hat, amplified by P-hat^-q, which is a constant.

    p(z) is differentiated through the ratio of p(z) to the probability that z was sampled with, which is 1.
    """
    log_p, log_w = exact.log_p_rationales(), exact.log_p_answers(GOLDS).logsumexp(-1)
    weight = log_w.exp() if answer_term else log_w.exp().detach()
    pulled = (log_p - log_p.detach()).exp() * weight

    def amplified(members: Tensor) -> Tensor:
        return -pulled[members].mean(-1) * weight.detach()[members].mean(-1) ** -config.q

    pairs = torch.tensor(PAIRS)
    groups = amplified(pairs)
    if jackknife:
        groups = 2 * groups - (amplified(pairs[:, :1]) + amplified(pairs[:, 1:])) / 2
    scale = 2**config.q if config.estimator.normalize else 1
    return (log_p.detach()[pairs].sum(-1).exp() * groups).sum() / scale


GARL = {
    ("estimator=garl", "q=0.75"): {},
    ("estimator=garl", "q=0.25", "estimator.baseline=false", "estimator.normalize=false"): {},
    ("estimator=garl", "q=0.5", "estimator.jackknife=true"): {"jackknife": True},
    ("estimator=garl", "q=1", "estimator.answer_term=false"): {"answer_term": False},
    ("estimator=rb_rloo",): {},
    ("estimator=iwae",): {},
}

HALF_SPREAD = 0.5 / (math.sqrt(0.5) + 1e-6)
"""Of two rewards, one right: distance from the mean over standard deviation and epsilon."""
REWARDS: dict[Settings, Callable[[Tensor], Tensor]] = {
    # Groups of two. Only those with one right answer count where rewards are centred: their probability is 2P(1-P).
    ("estimator=rlvr",): lambda p: -p,
    ("estimator=rloo",): lambda p: -p,
    ("estimator=dr_grpo",): lambda p: -p / 2,
    ("estimator=grpo",): lambda p: -HALF_SPREAD * p / 3,  # three tokens each
    ("estimator=maxrl",): lambda p: -p,  # log P expanded to M - 1 = 1 term
    ("estimator=star",): lambda p: -(2 * p - p**2 / 2),  # to M = 2 terms: (1-P) + (1-P)^2/2, but for a constant
    ("estimator=reward", "q=0.5"): lambda p: -p / math.sqrt(2),
}
"""What the estimator follows, in terms of P."""


@pytest.mark.parametrize("max_tokens", MICRO_BATCHES)
@pytest.mark.parametrize("settings", GARL)
def test_garl_follows_the_amplified_estimate_of_p(
    folder: Path, exact: Exact, settings: Settings, max_tokens: int
) -> None:
    config = run_config(*settings)
    found = mean_gradient(folder, config, gold_groups(), probability_of_pairs(exact), max_tokens)
    assert_same(found, exact.gradient(mean_of_groups(exact, config, **GARL[settings])))


def test_at_q_0_that_is_the_probability_of_success(exact: Exact) -> None:
    log_p, log_w = exact.log_p_rationales(), exact.log_p_answers(GOLDS).logsumexp(-1)
    found = exact.gradient(mean_of_groups(exact, run_config("estimator=rb_rloo")))
    torch.testing.assert_close(found, exact.gradient(-(log_p + log_w).exp().sum()), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("max_tokens", MICRO_BATCHES)
@pytest.mark.parametrize("settings", [("estimator=paft", "q=0.75"), ("estimator=em",)])
def test_paft_follows_the_same_over_all_its_draws(
    folder: Path, exact: Exact, settings: Settings, max_tokens: int
) -> None:
    config = run_config(*settings)

    def over_draws(log_w: Tensor) -> Coefficients:
        """The groups come three times: for both draws on the first rollout, one on each, both on the second."""
        times = [torch.tensor(counts).double() for counts in ([2, 0], [1, 1], [0, 2])]
        counts = torch.cat([one.expand(len(PAIRS), 2) for one in times])
        share = resampling_probabilities(log_w)
        probability = share.pow(counts).prod(-1) * torch.where(counts.amax(-1) == 1, 2.0, 1.0)
        drawn = attenuate(log_w, counts, q=config.q, normalize=True)
        return Coefficients(drawn.rationale * probability[:, None], drawn.answer * probability[:, None])

    groups, probability = gold_groups() * 3, probability_of_pairs(exact).repeat(3)
    found = mean_gradient(folder, config, groups, probability, max_tokens, over_draws)
    assert_same(found, exact.gradient(mean_of_groups(exact, config)))


@pytest.mark.parametrize("max_tokens", MICRO_BATCHES[1:])
@pytest.mark.parametrize("settings", REWARDS)
def test_rewards_follow_a_function_of_the_probability_of_success(
    folder: Path, exact: Exact, settings: Settings, max_tokens: int
) -> None:
    log_joint = exact.log_p_rationales()[:, None] + exact.log_p_answers(ANSWERS)
    outcomes = [answered(z, answer) for z in RATIONALES for answer in ANSWERS]
    prompt = Prompt(Example("one", "", "", text_of(ANSWERS[0])), PROMPT, (ANSWERS[0],))
    groups = [group(prompt, *pair) for pair in product(outcomes, repeat=2)]
    probability = torch.tensor([i.item() + j.item() for i, j in product(log_joint.flatten(), repeat=2)]).exp()
    found = mean_gradient(folder, run_config(*settings), groups, probability, max_tokens)
    assert_same(found, exact.gradient(REWARDS[settings](log_joint[:, 0].exp().sum())))


def test_supervised_steps_follow_the_log_likelihood_behind_sampled_rationales(folder: Path, exact: Exact) -> None:
    config = run_config("estimator=garl", "start.supervised_steps=1")
    found = mean_gradient(folder, config, gold_groups(), probability_of_pairs(exact), 4096)
    log_p, log_w = exact.log_p_rationales(), exact.log_p_answers(GOLDS).logsumexp(-1)
    assert_same(found, exact.gradient(-(log_p.detach().exp() * log_w).sum()))


def mean_gradient(
    folder: Path,
    config: RunConfig,
    groups: list[Group],
    probability: Tensor,
    max_tokens: int,
    coefficients_of: Callable[[Tensor], Coefficients] | None = None,
) -> Gradient:
    """What the optimizer gets, summed over all groups by their probability.

    Args:
        coefficients_of: from log w; None: the estimator of the configuration's first step.
    """
    policy = ZeroPolicy(load_scorer(folder, config.model), config)
    optimizer = config.optimizer.model_copy(update={"micro_batch_tokens": max_tokens})
    config = config.model_copy(update={"optimizer": optimizer, "prompts_per_step": 1})
    plan = plan_of(0, config)

    def weighted(estimator: Estimator | None) -> Estimator | None:
        def estimate(signal: Tensor, generator: torch.Generator, log_ratio: Tensor | None) -> Coefficients:
            assert estimator is not None
            each = coefficients_of(signal) if coefficients_of else estimator(signal, generator, log_ratio)
            return Coefficients(each.rationale * probability[:, None], each.answer * probability[:, None])

        return estimator and estimate

    mean = weighted(plan.estimator)
    assert mean is not None
    plan = replace(plan, estimator=mean, own_estimator=weighted(plan.own_estimator))
    learn(policy, groups, plan, config, Clock(lambda phase: None))
    parts = [deepspeed.utils.safe_get_full_grad(weight).flatten() for _, weight in policy.named_weights()]
    return torch.cat(parts)


def gold_groups() -> list[Group]:
    """Every group of two rationales, in the order of `PAIRS`."""
    prompt = Prompt(Example("one", "", "", "a"), PROMPT, GOLDS)
    rollouts = [Rollout(z, (), RationaleEnd.BUDGET, BRIDGE, None, 0) for z in RATIONALES]
    return [group(prompt, rollouts[i], rollouts[j]) for i, j in PAIRS]


def probability_of_pairs(exact: Exact) -> Tensor:
    return exact.log_p_rationales().detach()[torch.tensor(PAIRS)].sum(-1).exp()


def answered(rationale: tuple[int, ...], answer: tuple[int, ...]) -> Rollout:
    sampled = Answer(answer, (), text_of(answer), ended=True)
    return Rollout(rationale, (), RationaleEnd.BUDGET, BRIDGE, sampled, 0)


def text_of(ids: tuple[int, ...]) -> str:
    return "".join(map(str, ids))


def assert_same(found: Gradient, expected: Gradient) -> None:
    difference = (found - expected).abs().max() / expected.abs().max()
    assert difference <= LARGEST_DIFFERENCE, f"{difference:.1e} of the largest entry"
