"""What will happen, in words, before it does."""

from __future__ import annotations

from tsallis_run.config import RunConfig
from tsallis_run.inputs import Inputs
from tsallis_run.tracking.records import RunFolder


def summary(config: RunConfig, inputs: Inputs, folder: RunFolder) -> str:
    """The start-up summary: one line per station."""
    trains, number = config.task != "evaluate", f"{config.launch.num_ranks} process(es)"
    lines = [
        f"model      {config.model.name} ({config.model.path or 'random weights'}), {config.model.dtype}",
        f"data       {config.dataset.name}: {len(inputs.train)} train, {len(inputs.validation)} validation, "
        f"{len(inputs.test)} test{_dropped(inputs)}{_noise(config)}",
        *([f"each step  {_batch(config)}", *_cut(config, inputs)] if trains else []),
        f"start      {config.start.name}: {_start(config)}",
        f"engine     {_engine(config)}; {f'ZeRO stage {config.zero.stage}, {number}' if trains else number}",
        f"run        {_steps(config) if trains else _test(config)}",
        f"records    {folder.path}" + (f"; W&B {config.tracker.wandb.mode}" if trains else ""),
    ]
    return "\n".join(lines)


def _batch(config: RunConfig) -> str:
    rationales = config.prompts_per_step * config.rollouts_per_prompt
    return (
        f"{config.prompts_per_step} prompts x {config.rollouts_per_prompt} rollouts = {rationales} rationales of up to "
        f"{config.rollout.max_rationale_tokens} tokens, 1 optimizer step, {_estimator(config)}"
    )


def _cut(config: RunConfig, inputs: Inputs) -> list[str]:
    """A line where a group may not fit into one pass: what is scored first costs time that more memory would save."""
    budget = config.optimizer.micro_batch_tokens
    answers = max(sum(map(len, prompt.gold_ids)) for prompt in inputs.train)
    rollout = config.rollout.max_rationale_tokens + answers
    longest = max(len(prompt.ids) for prompt in inputs.train) + config.rollouts_per_prompt * rollout
    if longest <= budget:
        return []
    return [
        f"passes     a group may have {longest:,} tokens; one above optimizer.micro_batch_tokens={budget} is scored "
        "first, and its prompt passed again with every part"
    ]


def _estimator(config: RunConfig) -> str:
    name = config.estimator.name.upper()
    return name if config.q_label is None else f"{name} q={config.q_label}"


def _steps(config: RunConfig) -> str:
    supervised = config.start.supervised_steps
    first = f"{supervised} supervised steps on gold answers, then " if supervised else ""
    return (
        f"{first}{config.num_steps} steps; validation every {config.evaluation.every_steps} with "
        f"{config.evaluation.num_samples} answers each, the best one by maj@{config.evaluation.num_samples} is tested"
    )


def _test(config: RunConfig) -> str:
    return f"no training; the test split with {config.evaluation.num_samples} answers each"


def _start(config: RunConfig) -> str:
    asked = [
        *(["the task described"] if config.start.instructions else []),
        *(["the answer format asked for"] if config.start.answer_format else []),
    ]
    return "prompts are the input with " + " and ".join(asked) if asked else "prompts are the linearised input alone"


def _engine(config: RunConfig) -> str:
    if config.rollout.name == "vllm":
        return "vLLM in the training process"
    if config.rollout.name == "vllm_server":
        urls, number = config.rollout.urls, config.rollout.num_workers
        return f"vLLM's servers at {', '.join(urls)}" if urls else f"{number} vLLM server(s) on each machine"
    return "the slow reference engine (rollout=transformers), because it was asked for"


def _noise(config: RunConfig) -> str:
    noise = config.dataset.noise
    return "" if noise is None else f"; LABEL NOISE: {noise.label}"


def _dropped(inputs: Inputs) -> str:
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(inputs.dropped.items()))
    return f" (left out: {reasons})" if reasons else ""
