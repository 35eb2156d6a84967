"""The open mappings of a record: what readers rely on in them is checked, where it is there."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from mnistbench.schema.errors import one_line
from mnistbench.schema.strict_model import StrictModel

__all__ = ["Name", "checked_config", "checked_environment"]

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
Name = Annotated[str, Field(pattern=_NAME, max_length=200)]
"""A name as this package gives them: no markup, no path, nothing that a terminal obeys."""


class _Config(StrictModel):
    """What readers rely on in the `config` of a record, as far as it is there."""

    recipe: Name | None = None
    dataset: Name | None = None
    model: Name | None = None
    loss: Name | None = None
    optimizer: Name | None = None
    lr_schedule: Name | None = None
    eval_split: Literal["val", "test"] = "val"
    target_accuracy: float | None = Field(None, gt=0, le=1)


class _Environment(StrictModel):
    """The same of its `environment`."""

    versions: dict[str, Any] | None = None
    mixed_precision: str | None = None
    global_batch_size: int | None = Field(None, ge=1)
    num_processes: int | None = Field(None, ge=1)
    measured_alone: bool | None = None
    lr_peak: float | None = Field(None, gt=0)
    eval_spacing: float | None = Field(None, gt=0, lt=1)


def checked_config(values: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a record, if what readers rely on is right there.

    Raises:
        ValueError: the first that is not, in one line.
    """
    return _checked(values, _Config)


def checked_environment(values: dict[str, Any]) -> dict[str, Any]:
    """The environment of a record likewise."""
    return _checked(values, _Environment)


def _checked(values: dict[str, Any], shape: type[StrictModel]) -> dict[str, Any]:
    try:
        shape.model_validate(values, extra="ignore")
    except ValidationError as error:
        raise ValueError(one_line(error)) from None
    return values
