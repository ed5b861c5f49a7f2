"""One run, whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from tsallis_run.config.estimator import EstimatorConfig, RewardConfig
from tsallis_run.config.optimizer import OptimizerConfig
from tsallis_run.config.part import Count, Fraction, Part, PositiveInt
from tsallis_run.config.q import TsallisQ, label_of
from tsallis_run.config.rollout import RolloutConfig
from tsallis_run.config.sections import (
    CheckpointConfig,
    DatasetConfig,
    EvaluationConfig,
    LaunchConfig,
    LossConfig,
    ModelConfig,
    StartConfig,
    TrackerConfig,
    ZeroConfig,
)

CIRCUMSTANCES = {"output_dir", "resume", "force", "tracker", "launch", "checkpoint"}
"""What may change between two starts of one run as it likes."""


def _at_home(path: str) -> str:
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        raise ValueError("must be a path, ~ in it the home of somebody; write it out") from None


Folder = Annotated[str, Field(min_length=1), AfterValidator(_at_home)]
"""A path; `~` is the user's home."""


class RunConfig(Part):
    """One run, whole."""

    task: Literal["train", "evaluate", "doctor"]
    seed: Count
    q: TsallisQ | None
    num_steps: PositiveInt
    prompts_per_step: PositiveInt
    rollouts_per_prompt: PositiveInt
    output_dir: Folder | None
    resume: Folder | None
    force: bool
    model: ModelConfig
    dataset: DatasetConfig
    start: StartConfig
    estimator: EstimatorConfig
    loss: LossConfig
    rollout: RolloutConfig
    optimizer: OptimizerConfig
    zero: ZeroConfig
    evaluation: EvaluationConfig
    checkpoint: CheckpointConfig
    tracker: TrackerConfig
    launch: LaunchConfig

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run: the supervised ones first, then the estimator's."""
        return self.start.supervised_steps + self.num_steps

    @property
    def uses_q(self) -> bool:
        """False for estimators that are no member of the J_Q family."""
        return not isinstance(self.estimator, RewardConfig) or self.estimator.scale == "mean^q"

    @property
    def q_label(self) -> str | None:
        """q in a few words, see `label_of`; None where none is used."""
        return None if self.q is None else label_of(self.q)

    @property
    def samples_answers(self) -> bool:
        """True where training needs the model's own answers (rewards); GARL and PAFT score y* instead."""
        return isinstance(self.estimator, RewardConfig)

    @property
    def probe_tolerance_nats(self) -> float:
        """Of the weight sync's probe, at the precision of this run."""
        tolerance = self.rollout.probe_tolerance_nats
        return tolerance.float32 if self.model.dtype == "float32" else tolerance.bfloat16

    @property
    def identity(self) -> str:
        """A short hash of what a run means, not of where it is written, runs and is recorded.

        Runs of equal identity are the same run.
        """
        meaning = self.model_dump(mode="json", exclude=CIRCUMSTANCES)
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:8]

    @model_validator(mode="before")
    @classmethod
    def _settle_q(cls, data: Any) -> Any:
        return with_settled_q(data) if isinstance(data, Mapping) else data


_FIXED_Q = TypeAdapter(Fraction | None)


def with_settled_q(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """A run's plain data with the q that its estimator uses: null for none, its own for a preset defined at one q.

    So a sweep over q runs such estimators once.
    """
    estimator = data.get("estimator")
    if not isinstance(estimator, Mapping):
        return data
    if estimator.get("kind") == "reward" and estimator.get("scale") != "mean^q":
        return {**data, "q": None}
    try:
        fixed = _FIXED_Q.validate_python(estimator.get("fixed_q"))
    except ValidationError:  # it is told as a fault of its own
        return data
    return data if fixed is None else {**data, "q": fixed}
