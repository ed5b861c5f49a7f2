"""The estimators as settings of three general ones; a preset is a name for some of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tsallis_run.config.part import Fraction, Part, PositiveFloat, PositiveInt


class EstimatorPart(Part):
    """What every estimator has."""

    name: str
    fixed_q: Fraction | None


class GarlConfig(EstimatorPart):
    """GARL, arXiv:2604.25907v1, eqs. 7-12."""

    kind: Literal["garl"]
    baseline: bool
    jackknife: bool
    normalize: bool
    answer_term: bool


class PaftConfig(EstimatorPart):
    """PAFT, arXiv:2604.25907v1, eqs. 13-14."""

    kind: Literal["paft"]
    num_resamples: PositiveInt | None
    normalize: bool


class RewardConfig(EstimatorPart):
    """Exact-match rewards of sampled answers, compared within a group."""

    kind: Literal["reward"]
    baseline: Literal["none", "mean", "leave_one_out"]
    scale: Literal["none", "std", "mean^q"]
    epsilon: PositiveFloat


EstimatorConfig = Annotated[GarlConfig | PaftConfig | RewardConfig, Field(discriminator="kind")]
