"""One step of GRPO here against TRL's GRPOTrainer: same weights, prompts, completions and rewards.

    pip install --no-deps --target FOLDER "trl==1.16.*"
    PYTHONPATH=FOLDER python -W ignore benchmarks/trl_grpo_parity.py

TRL is no dependency of the project. Its trainer runs one whole step, from rewards to the backward pass, on rollouts
that are handed to it; here the same rollouts go through the estimator, the length scale, packed trees, the loss and
DeepSpeed. Lengths differ, some rationales were cut by the budget (their forced token is masked on both sides), two
groups have rewards all alike. Gradients are compared parameter by parameter, before any clipping of their norm.

TRL's loss is the value of the clipped objective, - sum of coefficients where the ratio is 1; ours carries log p beside
each coefficient and has the same gradient. For comparison ours is evaluated with 1 in the place of log p.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from deepspeed.utils import safe_get_full_grad
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer

from tsallis_run.cli import configuration_folder
from tsallis_run.config import LossConfig, RunConfig, validate
from tsallis_run.estimators import Coefficients, grpo
from tsallis_run.loss import length_scale, policy_loss
from tsallis_run.packing import micro_batches
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.policy.token_scorer import load_scorer
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.scoring import token_coefficients
from tsallis_run.tree import trees
from tsallis_run.types import Answer, Example, Group, Prompt, RationaleEnd, Rollout

NUM_PROMPTS, NUM_ROLLOUTS = 4, 8
LONGEST_RATIONALE, LONGEST_ANSWER = 12, 5
MAX_COMPLETION_TOKENS = 24
"""TRL's max_completion_length; its dr_grpo divides by it."""
TRL_EPSILON = 1e-4
"""What TRL adds to the standard deviation of the rewards; fixed in its code."""
END, FORCED = 1, 3
REWARDS = torch.tensor([[0, 1, 0, 0, 1, 0, 0, 0], [1] * 8, [0] * 8, [1, 1, 0, 1, 1, 1, 0, 1]], dtype=torch.float64)


@dataclass(frozen=True)
class Case:
    """One way to normalise, by TRL's names and by ours."""

    loss_type: str
    scale_rewards: str
    length_normalization: str
    trl_divides_by: int = 1
    """A constant that TRL divides by and we do not."""


CASES = (
    Case("dapo", "group", "token"),
    Case("bnpo", "group", "token"),
    Case("grpo", "group", "sequence"),
    Case("dr_grpo", "none", "none", trl_divides_by=MAX_COMPLETION_TOKENS),
)
CUTS = ((1, 4096), (4, 100))
"""Micro-batches of TRL, and the token budget of ours."""


@dataclass(frozen=True)
class Step:
    """What one optimizer step would see."""

    loss: float
    gradient: dict[str, Tensor]
    """Parameter's name -> its gradient."""


def random_groups() -> list[Group]:
    """Ids that were never sampled: the gradient of a given completion asks for no more."""
    draw = random.Random(0)

    def ids(longest: int) -> tuple[int, ...]:
        return tuple(draw.randrange(5, 48) for _ in range(draw.randint(1, longest)))

    def rollout() -> Rollout:
        bridge = (FORCED,) if draw.random() < 0.5 else ()
        end = RationaleEnd.BUDGET if bridge else RationaleEnd.MARKER
        return Rollout(
            ids(LONGEST_RATIONALE), (), end, bridge, Answer((*ids(LONGEST_ANSWER), END), (), "", ended=True), 0
        )

    prompts = [Prompt(Example(str(index), "", "q", "a"), ids(9), ((END,),)) for index in range(NUM_PROMPTS)]
    return [Group(prompt, tuple(rollout() for _ in range(NUM_ROLLOUTS))) for prompt in prompts]


def our_step(config: RunConfig, groups: Sequence[Group], case: Case, *, max_tokens: int) -> Step:
    """Our loss, and the gradient that reaches the optimizer; `max_tokens` cuts the batch into micro-batches."""
    batches = micro_batches(trees(groups, sampled_alone, max_tokens=max_tokens), max_tokens=max_tokens)
    coefficients = our_coefficients(groups, case)
    one_answer_each = torch.ones(*REWARDS.shape, 1, dtype=torch.float64)
    weights = [token_coefficients(batch, coefficients, one_answer_each) for batch in batches]
    policy = ZeroPolicy(load_scorer(model_folder(config.model, seed=config.seed), config.model), config)
    each = iter(weights)
    policy.backward(batches, lambda batch, log_probs: next(each), num_prompts=len(groups))
    loss = sum(float(policy_loss(torch.ones_like(w), w, num_prompts=len(groups))) for w in weights)
    return Step(loss, {name: safe_get_full_grad(weight).clone() for name, weight in policy.named_weights()})


def our_coefficients(groups: Sequence[Group], case: Case) -> Coefficients:
    """GRPO's, with the length scale of the case."""
    found = grpo(REWARDS, scale_by_std=case.scale_rewards == "group", epsilon=TRL_EPSILON)
    tokens = [[len(r.rationale) + len(answer_of(r).ids) for r in group.rollouts] for group in groups]
    lengths, normalization = torch.tensor(tokens).double(), LossConfig(length_normalization=case.length_normalization)
    scale = length_scale(lengths, normalization, mean_tokens=float(lengths.mean()))
    return Coefficients(found.rationale * scale, found.answer * scale)


def sampled_alone(group: Group, rollout: Rollout) -> Sequence[tuple[int, ...]]:
    return (answer_of(rollout).ids,)


def answer_of(rollout: Rollout) -> Answer:
    assert rollout.answer is not None, "every rollout here has one"
    return rollout.answer


def trl_step(folder: Path, groups: Sequence[Group], case: Case, *, num_micro_batches: int) -> Step:
    """TRL's loss and gradient, of its own training step."""
    trainer = RecordingTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        processing_class=AutoTokenizer.from_pretrained(folder),
        reward_funcs=lambda given_reward, **columns: given_reward,
        rollout_func=lambda prompts, trainer: given_rollouts(groups, prompts),
        train_dataset=Dataset.from_dict({"prompt": [str(index) for index in range(len(groups))]}),
        args=GRPOConfig(
            output_dir=tempfile.mkdtemp(),
            loss_type=case.loss_type,
            scale_rewards=case.scale_rewards,
            beta=0.0,
            num_generations=NUM_ROLLOUTS,
            per_device_train_batch_size=REWARDS.numel() // num_micro_batches,
            gradient_accumulation_steps=num_micro_batches,
            max_completion_length=MAX_COMPLETION_TOKENS,
            max_steps=1,
            max_grad_norm=0.0,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        ),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return Step(trainer.loss, trainer.gradient)


class RecordingTrainer(GRPOTrainer):
    """Keeps the loss and the gradient of its step."""

    loss = 0.0

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().training_step(*args, **kwargs)
        self.loss += float(loss)
        self.gradient = {name: weight.grad.clone() for name, weight in self.model.named_parameters()}
        return loss

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Says nothing: the table is the output."""


def given_rollouts(groups: Sequence[Group], prompts: Sequence[str]) -> dict[str, list[Any]]:
    """What TRL asks of a rollout function: a row for every prompt, each prompt M times running."""
    rows = [(int(prompt), index % NUM_ROLLOUTS) for index, prompt in enumerate(prompts)]
    rollouts = [groups[b].rollouts[m] for b, m in rows]
    return {
        "prompt_ids": [list(groups[b].prompt.ids) for b, _ in rows],
        "completion_ids": [[*r.rationale, *r.bridge, *answer_of(r).ids] for r in rollouts],
        "env_mask": [[1] * len(r.rationale) + [0] * len(r.bridge) + [1] * len(answer_of(r).ids) for r in rollouts],
        "logprobs": None,
        "given_reward": [float(REWARDS[b, m]) for b, m in rows],
    }


def compare(case: Case, ours: Step, theirs: Step) -> list[float]:
    """Both losses and their difference; TRL's largest gradient, the largest difference, and that over this."""
    assert ours.gradient.keys() == theirs.gradient.keys(), ours.gradient.keys() ^ theirs.gradient.keys()
    loss = ours.loss / case.trl_divides_by
    differences = [ours.gradient[name] / case.trl_divides_by - values for name, values in theirs.gradient.items()]
    largest = _largest(theirs.gradient.values())
    return [theirs.loss, loss, abs(loss - theirs.loss), largest, _largest(differences), _largest(differences) / largest]


def _largest(gradients: Iterable[Tensor]) -> float:
    return max(float(values.abs().max()) for values in gradients)


def main() -> None:
    logging.disable_progress_bar()
    with initialize_config_dir(str(configuration_folder()), version_base=None):
        config = validate(OmegaConf.to_container(compose("config", ["estimator=grpo"]), resolve=True))
    folder, groups = model_folder(config.model, seed=config.seed), random_groups()
    cases = list(product(CASES, CUTS))
    # All of TRL's first: our policy joins a process group, which its trainer would take for its own.
    theirs = [trl_step(folder, groups, case, num_micro_batches=num) for case, (num, _) in cases]
    ours = [our_step(config, groups, case, max_tokens=max_tokens) for case, (_, max_tokens) in cases]
    print(f"{'':30}{'loss':^32}{'gradient, every parameter':^30}")
    heads = ("TRL", "ours", "difference", "largest", "difference", "relative")
    print(f"{'TRL':8}{'ours':10}{'micro-batches':13}", *(f"{head:>10}" for head in heads))
    for (case, (num_micro_batches, _)), our, their in zip(cases, ours, theirs, strict=True):
        numbers = (f"{number:10.3g}" for number in compare(case, our, their))
        print(f"{case.loss_type:8}{case.length_normalization:10}{num_micro_batches:>13}", *numbers)


if __name__ == "__main__":
    main()
