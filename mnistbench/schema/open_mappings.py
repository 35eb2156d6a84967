"""The open mappings of a record: what readers rely on in them is checked, where it is there."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from mnistbench.schema.errors import one_line
from mnistbench.schema.strict_model import StrictModel

__all__ = ["KnownConfig", "KnownEnvironment", "Name", "checked"]

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
Name = Annotated[str, Field(pattern=_NAME, max_length=200)]
"""A name as this package gives them: no markup, no path, nothing that a terminal obeys."""


class KnownConfig(StrictModel):
    """What readers rely on in the `config` of a record, as far as it is there."""

    recipe: Name | None = None
    dataset: Name | None = None
    model: Name | None = None
    loss: Name | None = None
    optimizer: Name | None = None
    lr_schedule: Name | None = None
    eval_split: Literal["val", "test"] = "val"
    target_accuracy: float | None = Field(None, gt=0, le=1)


class KnownEnvironment(StrictModel):
    """The same of its `environment`."""

    versions: dict[str, Any] | None = None
    mixed_precision: str | None = None
    global_batch_size: int | None = Field(None, ge=1)
    num_processes: int | None = Field(None, ge=1)
    measured_alone: bool | None = None
    lr_peak: float | None = Field(None, gt=0)
    eval_spacing: float | None = Field(None, gt=0, lt=1)


def checked(values: dict[str, Any], *, shape: type[StrictModel]) -> dict[str, Any]:
    """`values`, if what `shape` tells of them is right.

    Raises:
        ValueError: the first that is not, in one line.
    """
    try:
        shape.model_validate(values, extra="ignore")
    except ValidationError as error:
        raise ValueError(one_line(error)) from None
    return values
