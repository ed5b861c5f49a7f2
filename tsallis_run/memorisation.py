"""Label noise measured: which of a training example's two labels does the policy answer with?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from tsallis_run import ranks
from tsallis_run.batch import plan_of
from tsallis_run.config import RunConfig
from tsallis_run.data.order import visits_at
from tsallis_run.grading import normal_form
from tsallis_run.inputs import Inputs
from tsallis_run.learning import score
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.sampler import Sampler
from tsallis_run.types import Engine, Group, Prompt

WRONG = 0
"""Place of the wrong label among the answers that are scored; the right ones stand after it."""


@dataclass(frozen=True)
class TwoLabels:
    """A training example with a right and a wrong label, and what the policy makes of them."""

    num_samples: int
    num_true: int
    """Sampled answers that equal the true label, or an alias of it."""
    num_wrong: int
    p_true: float
    """Mean probability of the true label, teacher-forced after the sampled rationales."""
    p_wrong: float


def memorisation(
    policy: ZeroPolicy, engine: Engine, sampler: Sampler, inputs: Inputs, config: RunConfig
) -> dict[str, float]:
    """Numbers of up to `evaluation.num_noisy_examples` training examples; {} without label noise. Collective.

    - noisy_true@1, noisy_wrong@1: share of the sampled answers that equal the true or the wrong label
    - noisy_p_true, noisy_p_wrong: mean probability of either label
    - contamination: the wrong label's share of the two probabilities; left out where both are 0. What a policy of
      enough capacity comes to is `estimators.tsallis.contamination`, with eps = fraction per visit, and 1 per example.

    The random streams are those of an evaluation: the same weights give the same numbers.

    Raises:
        GaveUpError: where the engine cannot sample.
    """
    prompts = asked(inputs, config)
    if not prompts:
        return {}
    engine.reset_cache()
    stream = f"seed {config.seed}, evaluation on noisy training examples"
    groups = sampler.sample(prompts, num_rollouts=config.evaluation.num_samples, answers=True, stream=stream)
    engine.sleep()
    return means(ranks.gathered(compare(policy, groups, inputs.wrong, config)))


def asked(inputs: Inputs, config: RunConfig) -> list[Prompt]:
    """The examples with a wrong label that training meets first, each with the wrong label ahead of the true ones."""
    first_epoch = (prompt for prompt, _ in visits_at(inputs.train, 0, len(inputs.train), seed=config.seed))
    struck = (prompt for prompt in first_epoch if prompt.example.id in inputs.wrong)
    return [
        replace(prompt, gold_ids=(*inputs.wrong[prompt.example.id].gold_ids, *prompt.gold_ids))
        for prompt in islice(struck, config.evaluation.num_noisy_examples)
    ]


def compare(
    policy: ZeroPolicy, groups: Sequence[Group], wrong: dict[str, Prompt], config: RunConfig
) -> list[TwoLabels]:
    """Holds each of this rank's groups against both labels; collective."""
    if not groups:
        policy.log_probs([])  # in step with the ranks that have some
        return []
    log_p = score(policy, groups, plan_of(0, config), config).log_p_alias
    p_wrong, p_true = log_p[..., WRONG].exp().mean(-1), log_p[..., WRONG + 1 :].exp().sum(-1).mean(-1)
    return [
        _counted(group, wrong[group.prompt.example.id].example.answer, float(p_true[row]), float(p_wrong[row]))
        for row, group in enumerate(groups)
    ]


def means(labels: Sequence[TwoLabels]) -> dict[str, float]:
    """See `memorisation`."""
    num_samples = sum(one.num_samples for one in labels)
    p_true = sum(one.p_true for one in labels) / len(labels)
    p_wrong = sum(one.p_wrong for one in labels) / len(labels)
    row = {
        "noisy_true@1": sum(one.num_true for one in labels) / num_samples,
        "noisy_wrong@1": sum(one.num_wrong for one in labels) / num_samples,
        "noisy_p_true": p_true,
        "noisy_p_wrong": p_wrong,
    }
    return row | ({"contamination": p_wrong / (p_true + p_wrong)} if p_true + p_wrong > 0 else {})


def _counted(group: Group, wrong: str, p_true: float, p_wrong: float) -> TwoLabels:
    forms = [normal_form(rollout.answer.text) for rollout in group.rollouts if rollout.answer is not None]
    right = {normal_form(gold) for gold in group.prompt.example.golds}
    return TwoLabels(
        num_samples=len(forms),
        num_true=sum(form in right for form in forms),
        num_wrong=forms.count(normal_form(wrong)),
        p_true=p_true,
        p_wrong=p_wrong,
    )
