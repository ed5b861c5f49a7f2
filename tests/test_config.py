"""What makes a configuration valid, what is said where it is not, and when two runs are the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from small import run_config

import tsallis_run
from tsallis_run.config import validate
from tsallis_run.types import UserError


def data(*overrides: str, **changes: Any) -> dict[str, Any]:
    """A valid run as plain data, with `section__key=value` changed."""
    changed = run_config(*overrides).model_dump(mode="json")
    for path, value in changes.items():
        *sections, key = path.split("__")
        section = changed
        for name in sections:
            section = section[name]
        section[key] = value
    return changed


def faults(changed: dict[str, Any]) -> list[str]:
    with pytest.raises(UserError) as caught:
        validate(changed)
    return str(caught.value).splitlines()


def test_a_configuration_survives_being_written_and_read() -> None:
    config = run_config("estimator=garl", "dataset=finqa")
    assert validate(config.model_dump(mode="json")) == config


def test_what_is_missing_is_told_with_where_it_comes_from() -> None:
    without = {key: value for key, value in data().items() if key not in ("zero", "num_steps")}
    assert faults(without) == [
        "num_steps: must be set; set num_steps=...",
        "zero: must be set; choose a file of conf/zero/",
    ]


def test_nothing_can_be_changed_once_it_is_valid() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        run_config().q = 1.0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"q": 1.5}, "q: must be less than or equal to 1, got 1.5"),
        ({"q": -0.1}, "q: must be greater than or equal to 0, got -0.1"),
        ({"q": float("nan")}, "q: must be a finite number, got nan"),
        ({"num_steps": 0}, "num_steps: must be greater than or equal to 1, got 0"),
        ({"num_steps": "many"}, "num_steps: must be a valid integer, unable to parse string as an integer, got 'many'"),
        ({"zero__stage": 4}, "zero.stage: must be less than or equal to 3, got 4"),
        ({"task": "trian"}, "task: must be 'train', 'evaluate' or 'doctor', got 'trian'"),
        ({"evaluation__match": "fuzzy"}, "evaluation.match: must be 'substring' or 'word_bounded', got 'fuzzy'"),
        ({"nmu_steps": 3}, "nmu_steps: no such key; did you mean num_steps?"),
        (
            {"rollout__max_rationale": 3},
            "rollout.max_rationale: no such key; did you mean rollout.max_rationale_tokens?",
        ),
        ({"num_steps": True}, "num_steps: must be a number, got True"),
        ({"num_steps": 1e300}, "num_steps: must be an integer of 64 bits, got 1e+300"),
        ({"output_dir": "a\0b"}, r"output_dir: must be text without the character NUL, got 'a\x00b'"),
        ({"tracker__wandb__group": b"\0"}, r"tracker.wandb.group: must be text without the character NUL, got b'\x00'"),
        (
            {"output_dir": "~nobody-of-this-name/x"},
            ("output_dir: must be a path, ~ in it the home of somebody, got '~nobody-of-this-name/x'; write it out"),
        ),
        (
            {"rollout": {}},
            "rollout.name: must be one of transformers, vllm, vllm_server, got null; choose a file of conf/rollout/",
        ),
        ({"rollout": 3}, "rollout: must be a section with keys, got 3; choose a file of conf/rollout/"),
        (
            {"dataset__name": "squad"},
            (
                "dataset.name: must be one of finqa, gsm8k, hotpotqa, musique, reversal, got 'squad'; "
                "choose a file of conf/dataset/"
            ),
        ),
        ({"model__reward": 1}, "model.reward: no such key; did you mean model.path?"),
        ({"stage": 1}, "stage: no such key; did you mean zero.stage?"),
        ({"estimator__q": 0.5}, "estimator.q: no such key; did you mean q?"),
        ({"estimator__baseline": True}, "estimator.baseline: no such key; it belongs to another choice of estimator"),
        ({"zzz": 1}, "zzz: no such key; see tsallis-run --cfg job for all keys"),
        ({"q": None}, "q: must be a number in [0, 1] for estimator=paft, got null; set q=0.75"),
        (
            {"q": {"kind": "linear", "start": 1, "end": 0, "num_steps": 9}},
            "estimator.normalize: must be false while q moves (M^-q would move the learning rate with it), got true; "
            "set estimator.normalize=false",
        ),
        (
            {"q": {"kind": "linaer", "start": 1, "end": 0, "num_steps": 9}},
            "q.kind: must be one of constant, step, linear, cosine, per_example, got 'linaer'",
        ),
        (
            {"q": {"kind": "per_example", "floor": 0.1, "prior": 1}},
            "estimator.normalize: must be false for a q per example (M^-q would weigh examples against each other), "
            "got true; set estimator.normalize=false",
        ),
        ({"q": {"kind": "per_example", "floor": 0, "prior": 1}}, "q.floor: must be greater than 0, got 0"),
        ({"q": {"kind": "per_example", "floor": 0.1}}, "q.prior: must be set; set q.prior=..."),
        (
            {"dataset__label_noise": {"fraction": 1, "per": "example", "wrong": "other"}},
            "dataset.label_noise.fraction: must be less than 1, got 1",
        ),
        (
            {"dataset__label_noise": {"fraction": 0.1, "per": "epoch", "wrong": "other"}},
            "dataset.label_noise.per: must be 'example' or 'visit', got 'epoch'",
        ),
        (
            {"optimizer__name": "adam"},
            "optimizer.name: must be one of adamw, sgd, got 'adam'; choose a file of conf/optimizer/",
        ),
        (
            {"optimizer__epsilon": 1e-31},
            "optimizer.epsilon: must be at least 1e-30, got 1e-31; float32 loses what is smaller",
        ),
        ({"optimizer__momentum": 0.9}, "optimizer.momentum: no such key; it belongs to another choice of optimizer"),
        ({"q": {"kind": "step", "start": 1, "end": 0}}, "q.num_steps: must be set; set q.num_steps=..."),
        ({"q": "most"}, "q: must be a valid number, unable to parse string as a number, got 'most'"),
        (
            {"rollout__importance_limit": 0.5},
            "rollout.importance_limit: must be greater than or equal to 1, got 0.5",
        ),
        (
            {"prompts_per_step": 6, "launch__num_processes": 4},
            "prompts_per_step: must be a multiple of launch.num_processes=4, got 6",
        ),
        (
            {"prompts_per_step": 12, "launch__num_processes": 4, "launch__num_nodes": 2},
            "prompts_per_step: must be a multiple of launch.num_processes=4 times launch.num_nodes=2, got 12",
        ),
        (
            {"launch__num_nodes": 2, "launch__rendezvous": "node1"},
            "launch.rendezvous: must be host:port, got 'node1'; such as node1:29500",
        ),
        (
            {"launch__rendezvous": "node1:29500"},
            "launch.rendezvous: must be null for launch.num_nodes=1, got node1:29500; "
            "set launch.num_nodes, or leave it out",
        ),
        (
            {"launch__slurm__minutes": 5},
            "launch.slurm.stop_seconds: must be less than launch.slurm.minutes=5 are, got 600; "
            "lower it, or ask for more minutes",
        ),
        (
            {"loss__length_normalization": "token"},
            "loss.length_normalization: must be none for estimator=paft (w is the probability of the whole answer), "
            "got token; leave it out",
        ),
        (
            {"num_steps": 300, "optimizer__warmup_steps": 301},
            "optimizer.warmup_steps: must be <= 300 (all steps), got 301",
        ),
        (
            {"model__architecture": None},
            "model.path: must be a hub id, a folder or a GGUF file unless the model has an architecture to build, "
            "got null; set model.path=...",
        ),
    ],
)
def test_a_fault_names_the_field_the_rule_and_the_value(changes: dict[str, Any], expected: str) -> None:
    assert faults(data(**changes)) == [expected]


def test_bfloat16_is_not_trained_at_stage_0() -> None:
    (told,) = faults(data("zero=stage0", model__dtype="bfloat16"))
    assert told.startswith("zero.stage: must be >= 1 for model.dtype=bfloat16")
    validate(data("zero=stage1", model__dtype="bfloat16"))


def test_all_faults_are_told_together() -> None:
    told = faults(data(q=2, num_steps=0, nmu_steps=1, zero__stage=9))
    assert [line.split(":")[0] for line in told] == ["q", "num_steps", "zero.stage", "nmu_steps"]


def test_all_faults_across_fields_are_told_together() -> None:
    changed = data("estimator=garl", rollouts_per_prompt=1, q=None, launch__num_processes=3)
    assert [line.split(":")[0] for line in faults(changed)] == ["q", "rollouts_per_prompt", "prompts_per_step"]


def test_faults_of_fields_and_across_fields_are_told_together() -> None:
    # the rule of the warm-up needs num_steps, which is at fault itself: it is left out
    changed = data("estimator=garl", rollouts_per_prompt=1, q=2, num_steps=0, optimizer__warmup_steps=9)
    assert [line.split(":")[0] for line in faults(changed)] == ["q", "num_steps", "rollouts_per_prompt"]


@pytest.mark.parametrize(
    ("overrides", "changes"),
    [
        (("estimator=grpo",), {}),
        (("estimator=rloo",), {}),
        (("estimator=star",), {"estimator__scale": "std"}),
        (("estimator=garl",), {}),
        (("estimator=garl",), {"estimator__baseline": False, "estimator__jackknife": True}),
    ],
)
def test_an_estimator_that_centres_needs_two_rollouts(overrides: tuple[str, ...], changes: dict[str, Any]) -> None:
    (told,) = faults(data(*overrides, rollouts_per_prompt=1, **changes))
    assert told.startswith("rollouts_per_prompt: must be >= 2 for estimator=")
    validate(data(*overrides, rollouts_per_prompt=2, **changes))


def test_one_rollout_is_enough_without_a_baseline() -> None:
    validate(data("estimator=garl", rollouts_per_prompt=1, estimator__baseline=False))
    validate(data("estimator=paft", rollouts_per_prompt=1))
    validate(data("estimator=star", rollouts_per_prompt=1))


def test_warmup_may_last_through_supervised_and_estimator_steps() -> None:
    """100 supervised steps and 300 of the estimator."""
    config = validate(data("start=warm", num_steps=300, optimizer__warmup_steps=400))
    assert config.total_steps == 400
    assert len(faults(data("start=warm", num_steps=300, optimizer__warmup_steps=401))) == 1


def test_q_is_null_for_an_estimator_that_does_not_use_it() -> None:
    assert run_config("estimator=grpo", "q=0.5").q is None
    assert run_config("estimator=paft", "q=0.5").q == 0.5


def test_only_workers_sample_ahead_and_older_weights_are_corrected_for() -> None:
    assert faults(data(rollout__max_staleness=1)) == [
        "rollout.max_staleness: must be 0 for rollout=vllm (its engine and the trainer take turns), got 1; "
        "use rollout=vllm_server to sample ahead",
        "rollout.importance_correction: must be sequence or token for rollout.max_staleness=1 "
        "(older weights write the rollouts), got none; set rollout.importance_correction=sequence",
    ]
    config = run_config("rollout=vllm_server", "rollout.max_staleness=1", "rollout.importance_correction=sequence")
    assert config.rollout.max_staleness == 1


def test_ranks_that_share_engines_form_whole_teams() -> None:
    assert faults(data(rollout__tensor_parallel_size=2)) == [
        "rollout.tensor_parallel_size: must divide the 1 ranks for rollout=vllm (they share its engines), got 2; "
        "change launch.num_processes, or use rollout=vllm_server"
    ]
    run_config("rollout.tensor_parallel_size=2", "launch.num_processes=4")
    run_config("rollout=vllm_server", "rollout.tensor_parallel_size=2")


@pytest.mark.parametrize("estimator", ["rb_rloo", "iwae", "em", "star", "maxrl"])
def test_an_estimator_defined_at_one_q_has_that_q_whatever_is_given(estimator: str) -> None:
    fixed = 0.0 if estimator == "rb_rloo" else 1.0
    moving = "q={kind:linear,start:1,end:0,num_steps:9}"
    for given in ("q=0.5", "q=null", moving):
        assert run_config(f"estimator={estimator}", given).q == fixed
    assert len({run_config(f"estimator={estimator}", f"q={q}").identity for q in (0, 0.5, 1)}) == 1
    assert [line.split(":")[0] for line in faults(data(f"estimator={estimator}", q=None, num_steps=0))] == ["num_steps"]


def test_q_may_move_where_the_learning_rate_does_not_move_with_it() -> None:
    moving = "q={kind:linear,start:1,end:0.25,num_steps:9}"
    assert run_config(moving, "estimator=garl", "estimator.normalize=false").q_label == "1->0.25 linear over 9"
    assert run_config(moving, "estimator=reward").q_label == "1->0.25 linear over 9"
    assert run_config("experiment=sft_then_rl").q_label == "1->0 step at 200"
    assert run_config("q=0.75").q_label == "0.75"
    assert run_config("estimator=grpo").q_label is None


def test_a_schedule_survives_being_written_and_read() -> None:
    config = run_config("experiment=sft_then_rl", "q.num_steps=7")
    assert validate(config.model_dump(mode="json")) == config


def test_a_q_per_example_survives_being_written_and_read() -> None:
    config = run_config("q={kind:per_example,floor:0.1,prior:1}", "estimator=garl", "estimator.normalize=false")
    assert config.q_label == "per example, floor 0.1"
    assert validate(config.model_dump(mode="json")) == config
    assert run_config("q={kind:per_example,floor:0.1,prior:1}", "estimator=reward").q_label == config.q_label
    assert run_config("q={kind:per_example,floor:0.1,prior:1}", "estimator=em").q == 1.0


def test_no_label_noise_is_one_run_whatever_else_is_said_of_it() -> None:
    none = run_config("dataset.label_noise.fraction=0", "dataset.label_noise.per=visit")
    assert none.dataset.noise is None
    assert none.identity == run_config().identity
    some = run_config("dataset.label_noise.fraction=0.3", "dataset.label_noise.per=visit")
    assert some.identity != none.identity
    assert validate(some.model_dump(mode="json")) == some


def test_a_schedule_that_does_not_move_is_its_number() -> None:
    number = run_config("q=1").identity
    for still in ("{kind:constant,start:1,end:0,num_steps:9}", "{kind:cosine,start:1,end:1,num_steps:9}"):
        assert run_config(f"q={still}").q == 1.0
        assert run_config(f"q={still}").identity == number


def test_runs_are_the_same_wherever_they_are_written() -> None:
    here = run_config("estimator=grpo", "q=0.5", "output_dir=here")
    assert here.identity == run_config("estimator=grpo", "q=1", "output_dir=there").identity


@pytest.mark.parametrize(
    "override", ["q=0.5", "seed=1", "estimator=garl", "zero=stage2", "rollout.max_answer_tokens=9"]
)
def test_runs_that_differ_in_a_setting_are_not_the_same(override: str) -> None:
    assert run_config(override).identity != run_config().identity


def test_a_run_is_the_same_in_another_process() -> None:
    """Otherwise a sweep would not find its points again."""
    program = (
        "import json, sys; from tsallis_run.config import validate; print(validate(json.load(sys.stdin)).identity)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(tsallis_run.__file__).parents[1]), "PYTHONHASHSEED": "7"}
    ended = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(data()), capture_output=True, text=True, env=environment
    )
    assert ended.stdout.strip() == run_config().identity
