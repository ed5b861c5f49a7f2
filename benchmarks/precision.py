"""What bfloat16 does to log w: the same rollouts scored by float32 and by bfloat16 weights of one model.

    python benchmarks/precision.py dataset=gsm8k dataset.path=FOLDER [key=value ...]

Rationales are sampled by the float32 model. `log w` is a sum over the gold answer's tokens, so its error grows with
them; log-probs are taken in float32 from bfloat16 logits. A weight enters an estimate as its share of its group.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from one_step import run_config
from torch import Tensor

from tsallis_run import ranks
from tsallis_run.batch import plan_of
from tsallis_run.config import RunConfig
from tsallis_run.engine.rollouts import sample_groups
from tsallis_run.engine.transformers import TransformersEngine
from tsallis_run.engine.weights import folder_weights
from tsallis_run.inputs import read_inputs
from tsallis_run.learning import score
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.policy.token_scorer import load_scorer
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.scoring import Scores
from tsallis_run.types import Group

SETTINGS = (
    *("model=smollm2_135m", "rollout=transformers", "estimator=garl", "rollouts_per_prompt=4"),
    *("rollout.max_rationale_tokens=32", "rollout.importance_correction=token"),
)
NUM_PROMPTS = 16


def scored(groups: Sequence[Group], overrides: Sequence[str], dtype: str) -> Scores:
    config = run_config([*SETTINGS, *overrides, f"model.dtype={dtype}", "zero=stage1"])
    policy = ZeroPolicy(load_scorer(model_folder(config.model, seed=0), config.model), config)
    return score(policy, groups, plan_of(0, config), config)


def sampled(config: RunConfig) -> list[Group]:
    folder = model_folder(config.model, seed=0)
    inputs = read_inputs(config, folder)
    engine = TransformersEngine(folder, dtype="float32", trust_remote_code=False)
    engine.load_weights(folder_weights(folder), version=0)
    return sample_groups(
        engine,
        inputs.train[:NUM_PROMPTS],
        inputs.format,
        config.rollout,
        num_rollouts=config.rollouts_per_prompt,
        answers=False,
        stream="precision",
    )


def main(overrides: Sequence[str]) -> None:
    ranks.join()
    groups = sampled(run_config([*SETTINGS, *overrides]))
    whole, half = scored(groups, overrides, "float32"), scored(groups, overrides, "bfloat16")
    tokens = torch.tensor([len(group.prompt.gold_ids[0]) for group in groups]).double()
    error = (half.log_p_answer - whole.log_p_answer).abs()
    shares = [scores.log_p_answer.softmax(-1) for scores in (whole, half)]
    print(
        f"{len(groups)} prompts x {len(groups[0].rollouts)} rollouts, answers of {tokens.mean():.1f} tokens on average"
    )
    log_w = whole.log_p_answer
    print(f"{'log w, float32':42}mean {log_w.mean():8.2f}   smallest {log_w.min():8.2f}")
    _line("|log w, bfloat16 - float32|", error)
    _line("the same per answer token", error / tokens[:, None])
    _line("the same of a rationale token", _of_rationales(whole, half))
    _line("|share of its group, bfloat16 - float32|", (shares[1] - shares[0]).abs())


def _of_rationales(whole: Scores, half: Scores) -> Tensor:
    is_token = whole.rationale_log_probs != 0
    return (half.rationale_log_probs - whole.rationale_log_probs).abs()[is_token]


def _line(what: str, values: Tensor) -> None:
    print(f"{what:42}mean {values.mean():8.4f}   largest {values.max():8.4f}")


if __name__ == "__main__":
    main(sys.argv[1:])
