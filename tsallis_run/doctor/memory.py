"""What a run needs of memory and disk, by formula: to find out beforehand what would fail after an hour.

With N weights of b bytes over W ranks, in bytes per rank:

    weights      b N, at ZeRO stage 3 divided by W
    gradients    b N at stage 0; in float32 from stage 1 on: 4 N, from stage 2 on divided by W; at stage 1 in
                 bfloat16 the micro-batch's own 2 N besides, else on GPUs a bucket of 5e8 numbers
    optimizer    its moments 8 N (AdamW), 4 N (sgd with momentum) or none, from stage 1 on with a master copy of 4 N:
                 12 N / W for AdamW
    activations  17 b T h per layer for a micro-batch of T tokens, of width h; with gradient checkpointing b T h,
                 and 17 b T h once
    logits       8 V for each of the 256 tokens of a chunk, at a vocabulary of V
    engine       b N and its cache of keys and values

Weights, gradients and optimizer: arXiv:1910.02054v3 (ZeRO), figure 1. Activations: arXiv:2205.05198v1, eqs. 1 and 2
(34 T h + 5 a T^2 bytes at b = 2), taken for every b. Differs: attention over packed trees keeps no
scores; it copies a trunk's keys and values for branches that are long beside it, which is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tsallis_run.config import AdamWConfig, OptimizerConfig, RunConfig
from tsallis_run.policy.token_scorer import TOKENS_PER_CHUNK

FLOAT32 = 4

BUCKET_NUMBERS = 500_000_000
"""In which DeepSpeed reduces gradients, whatever the size of the model."""

BYTES_OF = {"float32": FLOAT32, "bfloat16": 2}


@dataclass(frozen=True)
class ModelSize:
    """What the formula needs of a model."""

    num_weights: int
    num_layers: int
    width: int
    vocabulary: int


@dataclass(frozen=True)
class Need:
    """Bytes of one rank, or of one engine beside it."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    engine: float
    """On this rank's device; 0 for workers on devices of their own."""

    @property
    def trainer(self) -> float:
        """Without the engine."""
        return self.weights + self.gradients + self.optimizer + self.activations

    def peak(self, *, take_turns: bool) -> float:
        """At the worst moment; an engine that sleeps while the trainer works shares the room with its gradients."""
        if not take_turns:
            return self.trainer + self.engine
        return max(self.trainer, self.weights + self.optimizer + self.engine)


def model_size(folder: Path, config: RunConfig) -> ModelSize:
    """Reads the size of a model from its config.json; no weight is loaded."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    trust = config.model.trust_remote_code
    architecture = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(architecture, trust_remote_code=trust)
    text = architecture.get_text_config()
    return ModelSize(
        num_weights=sum(weight.numel() for weight in model.parameters()),
        num_layers=text.num_hidden_layers,
        width=text.hidden_size,
        vocabulary=text.vocab_size,
    )


def need(size: ModelSize, config: RunConfig, *, longest_tokens: int, gpu_bytes: int | None) -> Need:
    """What one rank takes.

    Args:
        longest_tokens: the longest sequence of the run; a micro-batch holds at least one.
        gpu_bytes: memory of the rank's GPU; None without one.
    """
    stage, num_ranks, weight_bytes = config.zero.stage, config.launch.num_ranks, BYTES_OF[config.model.dtype]
    n, moments = float(size.num_weights), _moment_bytes(config.optimizer)
    return Need(
        weights=weight_bytes * n / (num_ranks if stage == 3 else 1),
        gradients=_gradients(n, config, on_gpu=gpu_bytes is not None),
        optimizer=moments * n if stage == 0 else (FLOAT32 + moments) * n / num_ranks,
        activations=_activations(size, config, max(config.optimizer.micro_batch_tokens, longest_tokens)),
        engine=_engine(size, config, gpu_bytes),
    )


def checkpoint_bytes(size: ModelSize, config: RunConfig) -> int:
    """On disk: the checkpoints that are kept and the one that is written beside them, and best/ twice while it changes.

    A checkpoint holds weights and moments in float32.
    """
    num_checkpoints = config.checkpoint.keep + 1
    best = 2 * BYTES_OF[config.model.dtype]
    return size.num_weights * ((FLOAT32 + _moment_bytes(config.optimizer)) * num_checkpoints + best)


def _gradients(n: float, config: RunConfig, *, on_gpu: bool) -> float:
    """As benchmarks/zero_memory.py counts them; of a bucket, a CPU machine gives only what is written to."""
    stage, num_ranks, weight_bytes = config.zero.stage, config.launch.num_ranks, BYTES_OF[config.model.dtype]
    if stage == 0:
        return weight_bytes * n
    own = weight_bytes * n if stage == 1 and weight_bytes < FLOAT32 else 0.0
    bucket = weight_bytes * BUCKET_NUMBERS if on_gpu and not own else 0.0
    return FLOAT32 * n / (num_ranks if stage >= 2 else 1) + own + bucket


def _moment_bytes(config: OptimizerConfig) -> int:
    """Of one weight, in float32."""
    if isinstance(config, AdamWConfig):
        return 2 * FLOAT32
    return FLOAT32 if config.momentum else 0


def _activations(size: ModelSize, config: RunConfig, tokens: int) -> float:
    scale = BYTES_OF[config.model.dtype] / 2
    layer = 34 * scale * tokens * size.width
    layers = size.num_layers * layer
    if config.model.gradient_checkpointing:
        layers = layer + 2 * scale * tokens * size.width * size.num_layers
    return layers + 2 * FLOAT32 * size.vocabulary * min(tokens, TOKENS_PER_CHUNK)


def _engine(size: ModelSize, config: RunConfig, gpu_bytes: int | None) -> float:
    rollout, weights = config.rollout, BYTES_OF[config.model.dtype] * float(size.num_weights)
    if rollout.name == "transformers":
        return weights
    if rollout.name == "vllm":
        if gpu_bytes is not None:
            return rollout.gpu_memory_utilization * gpu_bytes
        return weights / rollout.tensor_parallel_size + rollout.kv_cache_bytes
    if gpu_bytes is not None or rollout.urls:
        return 0.0
    engines = rollout.num_workers / config.launch.num_processes
    return engines * (weights + rollout.kv_cache_bytes)
