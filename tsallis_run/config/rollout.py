"""The engine that samples rationales: in the training process, or as servers of its own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tsallis_run.config.part import Count, Number, Part, PositiveFloat, PositiveInt, Seconds
from tsallis_run.config.server_url import ServerUrl, is_loopback

CALLS_OF_A_BATCH = 4
"""Of an engine, at most: rationales, then answers, each asked for once more where it fails."""

UNLIMITED_SECONDS = 1800.0
"""Enough for what no setting limits: reading the data, writing a checkpoint."""


class ProbeTolerance(Part):
    """Largest mean |engine - trainer| log-prob per token after a weight sync, by precision."""

    float32: PositiveFloat
    bfloat16: PositiveFloat


class RolloutPart(Part):
    """What every engine has: its budgets, its limits, and how its log-probs stand to the trainer's."""

    max_rationale_tokens: PositiveInt
    max_answer_tokens: PositiveInt
    timeout_seconds: Seconds
    max_staleness: Annotated[int, Number, Field(ge=0, le=1)]
    probe_tolerance_nats: ProbeTolerance
    importance_correction: Literal["none", "sequence", "token"]
    importance_limit: Annotated[float, Number, Field(ge=1)]

    @property
    def patience_seconds(self) -> float:
        """Longer than anything for which one rank of the run may wait for another."""
        return CALLS_OF_A_BATCH * self.timeout_seconds + UNLIMITED_SECONDS


class TransformersRollout(RolloutPart):
    """The slow reference, in the training process."""

    name: Literal["transformers"]


class VllmPart(RolloutPart):
    """What vLLM needs, wherever it runs."""

    gpu_memory_utilization: Annotated[float, Number, Field(gt=0, le=1)]
    tensor_parallel_size: PositiveInt
    kv_cache_gib: PositiveFloat
    block_size: PositiveInt

    @property
    def kv_cache_bytes(self) -> int:
        """On CPU machines."""
        return int(self.kv_cache_gib * 2**30)


class VllmRollout(VllmPart):
    """vLLM in the training process."""

    name: Literal["vllm"]
    sleep: bool


class VllmServerRollout(VllmPart):
    """vLLM's own servers, beside the training processes or on other machines."""

    name: Literal["vllm_server"]
    num_workers: PositiveInt
    max_restarts: Count
    urls: tuple[ServerUrl, ...]
    first_device: Count | None
    trust_network: bool
    weight_transfer: Literal["auto", "shared_memory", "nccl"]
    start_timeout_seconds: Seconds
    health_timeout_seconds: Seconds

    @property
    def patience_seconds(self) -> float:
        """Longer than that as well for which a worker may start."""
        return max(super().patience_seconds, self.start_timeout_seconds + UNLIMITED_SECONDS)

    @property
    def urls_elsewhere(self) -> tuple[str, ...]:
        """Those of servers that are not known to be on this machine."""
        return tuple(url for url in self.urls if not is_loopback(url))

    @property
    def transfers_over_nccl(self) -> bool:
        """False where the weights go through memory that trainer and workers share."""
        wanted = self.weight_transfer
        return wanted == "nccl" or (wanted == "auto" and bool(self.urls_elsewhere))


RolloutConfig = Annotated[TransformersRollout | VllmRollout | VllmServerRollout, Field(discriminator="name")]
