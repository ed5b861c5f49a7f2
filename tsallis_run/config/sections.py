"""The sections of a configuration: one frozen class for each group of conf/, with types and ranges."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from tsallis_run.config.part import Count, Number, Part, PositiveFloat, PositiveInt

ZeroStage = Annotated[int, Number, Field(ge=0, le=3)]


class Architecture(Part):
    """A small Qwen3 built with random weights (model=tiny)."""

    hidden_size: PositiveInt
    intermediate_size: PositiveInt
    num_layers: PositiveInt
    num_heads: PositiveInt
    num_kv_heads: PositiveInt
    head_dim: PositiveInt
    max_length_tokens: PositiveInt
    initializer_range: PositiveFloat
    tie_word_embeddings: bool


class Thinking(Part):
    """Where a rationale begins and ends, and what opens the answer."""

    style: Literal["auto", "delimiters", "turn"]
    begin: str
    end: str
    answer_opening: str


class StageByPrecision(Part):
    """A ZeRO stage for each precision."""

    float32: ZeroStage
    bfloat16: ZeroStage


class Suits(Part):
    """Settings of other sections that fit one model and not another; those sections take them from here."""

    max_rationale_tokens: PositiveInt
    max_answer_tokens: PositiveInt
    learning_rate: PositiveFloat
    supervised_steps: Count
    cpu_threads: PositiveInt | None
    zero_stage: StageByPrecision
    micro_batch_tokens: PositiveInt
    kv_cache_gib: PositiveFloat


class ModelConfig(Part):
    """Which weights the policy starts from, and how it is run."""

    name: str
    path: str | None
    revision: str | None
    offline_package: str | None
    architecture: Architecture | None
    dtype: Literal["float32", "bfloat16"]
    gradient_checkpointing: bool
    chat_template: str | None
    trust_remote_code: bool
    thinking: Thinking
    reads_instructions: bool
    suits: Suits

    @model_validator(mode="after")
    def _has_a_source(self) -> ModelConfig:
        if self.path is None and self.architecture is None:
            raise ValueError(
                "model.path: must be a hub id, a folder or a GGUF file unless the model has an architecture to build, "
                "got null; set model.path=..."
            )
        return self


class LabelNoiseConfig(Part):
    """Training examples with a wrong label."""

    fraction: Annotated[float, Number, Field(ge=0, lt=1)]
    per: Literal["example", "visit"]
    wrong: Literal["other", "input"]

    @property
    def label(self) -> str:
        """In a few words, such as `0.3 of examples have a wrong label (other)`."""
        return f"{self.fraction:.3g} of {self.per}s have a wrong label ({self.wrong})"


def _settled(noise: LabelNoiseConfig) -> LabelNoiseConfig:
    """Equal runs have equal configurations: at a fraction of 0 nothing else matters."""
    return noise if noise.fraction > 0 else LabelNoiseConfig(fraction=0.0, per="example", wrong="other")


class DatasetPart(Part):
    """What every dataset has."""

    name: str
    label_noise: Annotated[LabelNoiseConfig, AfterValidator(_settled)]
    num_train: PositiveInt | None
    num_validation: PositiveInt | None
    num_test: PositiveInt | None
    max_prompt_tokens: PositiveInt | None
    task_description: str
    answer_format: str
    default_match: Literal["substring", "word_bounded"]

    @property
    def noise(self) -> LabelNoiseConfig | None:
        """None where no label is wrong."""
        return self.label_noise if self.label_noise.fraction > 0 else None


class ReversalConfig(DatasetPart):
    """The embedded task: reverse a string of digits."""

    name: Literal["reversal"]
    num_digits: Annotated[int, Number, Field(ge=2, le=40)]


def _is_there(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # no name of a file: too long, ~nobody, with a NUL
        return False


class RowsConfig(DatasetPart):
    """A public dataset, from its hub source or from a local file or folder in the official schema."""

    path: str | None
    hub: str
    hub_config: str | None
    hub_revision: str | None
    max_context_chars: PositiveInt | None
    empty_gold: Literal["drop", "error"]

    @field_validator("path")
    @classmethod
    def _exists(cls, path: str | None) -> str | None:
        if path is not None and not _is_there(path):
            raise ValueError("must be an existing file or folder in the official schema; check the path")
        return path


class FinQAConfig(RowsConfig):
    """FinQA: questions over financial reports."""

    name: Literal["finqa"]


class GSM8KConfig(RowsConfig):
    """GSM8K: grade-school word problems."""

    name: Literal["gsm8k"]
    validation_fraction: Annotated[float, Number, Field(gt=0, lt=1)]


class MultiHopConfig(RowsConfig):
    """HotPotQA and MuSiQue: questions over several paragraphs."""

    name: Literal["hotpotqa", "musique"]
    paragraphs: Literal["all", "supporting"]


DatasetConfig = Annotated[ReversalConfig | FinQAConfig | GSM8KConfig | MultiHopConfig, Field(discriminator="name")]


class StartConfig(Part):
    """Cold or warm: what the prompt says, and supervised steps before the first estimator step."""

    name: Literal["cold", "warm"]
    instructions: bool
    answer_format: bool
    supervised_steps: Count


class LossConfig(Part):
    """How the loss is normalised beyond the mean over prompts."""

    length_normalization: Literal["none", "sequence", "token"]


class ZeroConfig(Part):
    """DeepSpeed ZeRO: what is sharded over ranks (0 nothing, 1 optimizer, 2 + gradients, 3 + weights)."""

    stage: ZeroStage


class EvaluationConfig(Part):
    """Validation during training, and the test at its end."""

    num_samples: PositiveInt
    every_steps: PositiveInt
    match: Literal["substring", "word_bounded"]
    bootstrap_resamples: PositiveInt
    num_noisy_examples: PositiveInt
    confidence: Annotated[float, Number, Field(gt=0, lt=1)]


class CheckpointConfig(Part):
    """When a run can be resumed."""

    every_steps: PositiveInt | None
    keep: PositiveInt


class WandbConfig(Part):
    """The mirror at Weights & Biases."""

    mode: Literal["offline", "online", "disabled"]
    project: str
    entity: str | None
    group: str | None
    name: str | None
    tags: tuple[str, ...]


class TrackerConfig(Part):
    """What is recorded beside metrics.jsonl."""

    wandb: WandbConfig
    tensorboard: bool
    rollouts_every_steps: PositiveInt | None
    rollouts_examples: PositiveInt
    display: Literal["auto", "live", "lines"]


class SlurmConfig(Part):
    """What a job asks the cluster for (hydra/launcher=slurm)."""

    partition: str | None
    account: str | None
    minutes: PositiveInt
    stop_seconds: PositiveInt
    max_requeues: Count
    gpus_per_node: Count
    cpus_per_node: PositiveInt
    memory_gib: PositiveInt | None
    max_jobs: PositiveInt
    setup: tuple[str, ...]
    options: dict[str, bool | int | str]


class LaunchConfig(Part):
    """Processes, machines, and what a cluster is asked for."""

    num_processes: PositiveInt
    num_nodes: PositiveInt
    rendezvous: str | None
    threads_per_process: PositiveInt | None
    slurm: SlurmConfig

    @property
    def num_ranks(self) -> int:
        """Over all machines."""
        return self.num_processes * self.num_nodes

    @field_validator("rendezvous")
    @classmethod
    def _names_host_and_port(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[^\s:]+:\d{1,5}", value):
            raise ValueError("must be host:port; such as node1:29500")
        return value
