"""The validated configuration.

Every default value lives in conf/*.yaml; Python holds types and ranges (`sections`, `rollout`, `estimator`, `q`) and
rules across fields (`rules`).
`RunConfig` is frozen, a key it does not know is an error, and nothing behind it sees Hydra or OmegaConf.
"""

from __future__ import annotations

from tsallis_run.config.estimator import EstimatorConfig, GarlConfig, PaftConfig, RewardConfig
from tsallis_run.config.optimizer import AdamWConfig, OptimizerConfig, SgdConfig
from tsallis_run.config.q import QPerExample, QSchedule
from tsallis_run.config.rollout import (
    RolloutConfig,
    RolloutPart,
    TransformersRollout,
    VllmPart,
    VllmRollout,
    VllmServerRollout,
)
from tsallis_run.config.run import CIRCUMSTANCES, RunConfig
from tsallis_run.config.sections import (
    Architecture,
    DatasetConfig,
    EvaluationConfig,
    FinQAConfig,
    GSM8KConfig,
    LabelNoiseConfig,
    LaunchConfig,
    LossConfig,
    ModelConfig,
    MultiHopConfig,
    ReversalConfig,
    RowsConfig,
    WandbConfig,
)
from tsallis_run.config.validation import validate

__all__ = [
    "CIRCUMSTANCES",
    "AdamWConfig",
    "Architecture",
    "DatasetConfig",
    "EstimatorConfig",
    "EvaluationConfig",
    "FinQAConfig",
    "GSM8KConfig",
    "GarlConfig",
    "LabelNoiseConfig",
    "LaunchConfig",
    "LossConfig",
    "ModelConfig",
    "MultiHopConfig",
    "OptimizerConfig",
    "PaftConfig",
    "QPerExample",
    "QSchedule",
    "ReversalConfig",
    "RewardConfig",
    "RolloutConfig",
    "RolloutPart",
    "RowsConfig",
    "RunConfig",
    "SgdConfig",
    "TransformersRollout",
    "VllmPart",
    "VllmRollout",
    "VllmServerRollout",
    "WandbConfig",
    "validate",
]
