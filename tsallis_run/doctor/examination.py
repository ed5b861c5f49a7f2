"""All that the doctor looks at, in order; run by every rank, told by the first."""

from __future__ import annotations

from contextlib import closing

import torch

from tsallis_run import ranks
from tsallis_run.config import RunConfig
from tsallis_run.doctor import machine, memory, trial
from tsallis_run.doctor.findings import Finding, Findings, failure, mistake, warning, worst
from tsallis_run.doctor.machine import gib
from tsallis_run.inputs import Inputs, read_inputs
from tsallis_run.parts import Parts, build
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.tracking.display import open_display
from tsallis_run.tracking.records import RunFolder
from tsallis_run.types import DiskError, GaveUpError, UserError

COMFORTABLE = 0.8
"""Share of the free memory up to which an estimate leaves room for what it forgets."""


def examine(config: RunConfig, folder: RunFolder) -> int:
    """Looks at everything, the cheap things first; `folder` is one to try the run out in.

    Returns:
        0 where the run would work; 2 for a mistake of the user's, 1 for anything else that would fail.
    """
    findings = Findings()
    findings.add(machine.versions(config), devices := machine.devices(config))
    if devices.verdict == "fails":
        return findings.status
    ranks.join(config.rollout.patience_seconds)
    try:
        model = model_folder(config.model, seed=config.seed)
        inputs = ranks.agreed(lambda: read_inputs(config, model))
    except UserError as error:
        findings.add(mistake("inputs", error))
        return findings.status
    size = memory.model_size(inputs.model_folder, config)
    findings.add(*_model(inputs, size), *_data(inputs, config), _tracker(config), _disk(size, config, folder))
    findings.add(room := worst(ranks.gathered([_memory(size, inputs, config)])))
    if room.verdict == "fails":
        return findings.status
    _try_out(config, folder, findings)
    return findings.status


def _try_out(config: RunConfig, folder: RunFolder, findings: Findings) -> None:
    """The parts in action, until one fails."""
    station = "engine"
    try:
        with open_display("silent", total_steps=0) as display:
            (parts, _), seconds = trial.timed(lambda: build(_unmirrored(config), folder, display))
            with closing(parts):
                findings.add(Finding(station, f"trainer and {config.rollout.name} started in {seconds:.1f} s"))
                station = "sync"
                synced = trial.sync(parts)
                findings.add(_sync(synced, config))
                station = "rollouts"
                sampled = trial.sample(parts)
                findings.add(_rollouts(sampled, config))
                station = "backward"
                passes = trial.passes(parts, sampled.groups)
                findings.add(_passes(passes), _time(trial.forecast(synced, sampled, passes, parts), parts))
    except UserError as error:
        findings.add(mistake(station, error))
    except (GaveUpError, DiskError) as error:  # raised on every rank
        findings.add(_broken(station, error))
    except Exception as error:  # whatever breaks: that is what is looked for
        findings.add_own(_broken(station, error))


def _broken(station: str, error: Exception) -> Finding:
    return failure(station, f"{type(error).__name__}: {' '.join(str(error).split())}")


def _model(inputs: Inputs, size: memory.ModelSize) -> list[Finding]:
    format = inputs.format
    end = format.tokenizer.convert_ids_to_tokens(format.end_id)
    marker = None if format.marker_id is None else format.tokenizer.convert_ids_to_tokens(format.marker_id)
    closes = f"{marker} closes the rationale" if marker else "a rationale ends with its turn"
    return [
        Finding("model", f"{size.num_weights:,} weights in {inputs.model_folder}"),
        Finding("chat", f"{end} ends an answer, {closes}"),
    ]


def _data(inputs: Inputs, config: RunConfig) -> list[Finding]:
    kept = len(inputs.train) + len(inputs.validation) + len(inputs.test)
    dropped = sum(inputs.dropped.values())
    longest = max(len(prompt.ids) for prompt in (*inputs.train, *inputs.validation, *inputs.test))
    text = f"{len(inputs.train):,} train, {len(inputs.validation):,} validation, {len(inputs.test):,} test"
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in sorted(inputs.dropped.items()))
    lengths = (
        f"prompts up to {longest:,} tokens, rationales up to {config.rollout.max_rationale_tokens:,}, "
        f"whole sequences up to {inputs.max_length_tokens:,}"
    )
    data = Finding("data", text + (f"; left out: {reasons}" if reasons else ""))
    if dropped > kept:
        data = warning("data", data.text, "look at what is left out: it is more than what stays")
    return [data, Finding("lengths", lengths)]


def _tracker(config: RunConfig) -> Finding:
    wandb = config.tracker.wandb
    if wandb.mode == "online":
        return Finding("tracker", f"W&B online, project {wandb.project}; a key was found, nobody was asked")
    if wandb.mode == "offline":
        return Finding("tracker", "W&B offline, into the run folder; `wandb sync` uploads later")
    return Finding("tracker", "metrics.jsonl" + (" and TensorBoard" if config.tracker.tensorboard else "") + ", no W&B")


def _disk(size: memory.ModelSize, config: RunConfig, folder: RunFolder) -> Finding:
    needed, free = memory.checkpoint_bytes(size, config), machine.disk_free_bytes(folder.path)
    text = f"checkpoints take up to {gib(needed)} GiB of {gib(free)} GiB that are free"
    if needed > free:
        return failure("disk", text, "set output_dir to a larger disk, or lower checkpoint.keep")
    if config.checkpoint.every_steps is None:
        return warning("disk", f"{text}; none is written while the run goes", "set checkpoint.every_steps=100")
    return Finding("disk", text)


def _memory(size: memory.ModelSize, inputs: Inputs, config: RunConfig) -> Finding:
    """The formula's need of this rank, or of all ranks of this machine where they share its memory."""
    on_gpu = torch.cuda.is_available()
    gpu_bytes = machine.total_gpu_bytes() if on_gpu else None
    need = memory.need(size, config, longest_tokens=inputs.max_length_tokens, gpu_bytes=gpu_bytes)
    sharers = 1 if on_gpu else config.launch.num_processes
    take_turns = on_gpu and config.rollout.name == "vllm" and config.rollout.sleep
    peak, free = sharers * need.peak(take_turns=take_turns), machine.free_bytes()
    parts = {
        "weights": need.weights,
        "gradients": need.gradients,
        "optimizer": need.optimizer,
        "activations": need.activations,
        "engine": need.engine,
    }
    shares = ", ".join(f"{name} {gib(share)}" for name, share in parts.items())
    each = f" ({sharers} ranks)" if sharers > 1 else ""
    text = f"about {gib(peak)} GiB{each} of {gib(free)} GiB that are free; each rank: {shares}"
    if peak > free:
        return failure("memory", text, _smaller(parts, config))
    if peak > COMFORTABLE * free:
        return warning("memory", text, _smaller(parts, config))
    return Finding("memory", text)


def _smaller(parts: dict[str, float], config: RunConfig) -> str:
    """What makes the largest part smaller."""
    largest = max(parts, key=lambda name: parts[name])
    if largest == "activations":
        checkpointing = "" if config.model.gradient_checkpointing else "model.gradient_checkpointing=true, or "
        return f"{checkpointing}a lower optimizer.micro_batch_tokens than {config.optimizer.micro_batch_tokens}"
    if largest == "engine":
        return "a lower rollout.gpu_memory_utilization or rollout.kv_cache_gib, or rollout=vllm_server elsewhere"
    if config.zero.stage < 3:
        return "zero=stage3 over more ranks (launch.num_processes), or a smaller model"
    return "more ranks (launch.num_processes, launch.num_nodes), or a smaller model"


def _sync(synced: trial.Synced, config: RunConfig) -> Finding:
    text = (
        f"weights reach the engine in {synced.seconds:.2f} s ({synced.first_seconds:.2f} s the first time); on the "
        f"probe it is {synced.difference:.1e} nats a token from the trainer, "
        f"{config.probe_tolerance_nats:g} are allowed"
    )
    return Finding("sync", text)


def _rollouts(sampled: trial.Sampled, config: RunConfig) -> Finding:
    lengths = [len(rollout.rationale) for group in sampled.groups for rollout in group.rollouts]
    text = (
        f"a group of {config.rollouts_per_prompt} rationales of {sum(lengths) / len(lengths):.0f} tokens in "
        f"{sampled.one_seconds:.2f} s ({sampled.first_seconds:.2f} s the first time), two in "
        f"{sampled.two_seconds:.2f} s; log P {sampled.log_p:.1f}, "
        f"engine and trainer {sampled.difference:.1e} nats a token apart"
    )
    return Finding("rollouts", text)


def _passes(passes: trial.Passes) -> Finding:
    text = (
        f"a micro-batch of {passes.num_tokens:,} tokens in {passes.backward_seconds:.2f} s, without gradient in "
        f"{passes.forward_seconds:.2f} s; the process has held {gib(trial.peak_bytes())} GiB at most"
    )
    return Finding("backward", text)


def _time(forecast: trial.Forecast, parts: Parts) -> Finding:
    config = parts.config
    text = (
        f"about {forecast.step_seconds:.1f} s a step and {forecast.evaluation_seconds:.0f} s a validation at most: "
        f"{_duration(forecast.run_seconds)} for {config.total_steps:,} steps"
    )
    return Finding("time", text)


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"


def _unmirrored(config: RunConfig) -> RunConfig:
    """The run without its mirrors: a trial is nobody's record."""
    wandb = config.tracker.wandb.model_copy(update={"mode": "disabled"})
    tracker = config.tracker.model_copy(update={"wandb": wandb, "tensorboard": False})
    return config.model_copy(update={"tracker": tracker})
