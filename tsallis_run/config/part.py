"""What sections of a configuration are made of."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

LARGEST = 2**63 - 1
"""What the integers of torch and of a clock can hold."""


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


Number = BeforeValidator(_no_truth_value)
"""Refuses true and false, which Python takes for 1 and 0."""

PositiveInt = Annotated[int, Number, Field(ge=1, le=LARGEST)]
Count = Annotated[int, Number, Field(ge=0, le=LARGEST)]
PositiveFloat = Annotated[float, Number, Field(gt=0)]
Fraction = Annotated[float, Number, Field(ge=0, le=1)]
Seconds = Annotated[float, Number, Field(gt=0, le=10**9)]
"""No longer than a clock can wait: 30 years."""


class Part(BaseModel):
    """A section of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
