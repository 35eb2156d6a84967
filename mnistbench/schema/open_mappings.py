"""The open mappings of a record: what readers rely on in them is checked, where it is there."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from mnistbench.schema.component import is_data_path, is_reference, parse_reference
from mnistbench.schema.errors import one_line
from mnistbench.schema.strict_model import StrictModel

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
Name = Annotated[str, Field(pattern=_NAME, max_length=200)]
"""A name as this package gives them: no markup, no path, nothing that a terminal obeys."""
FreeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9 ,._+:/@-]*$", max_length=200)]
"""A name as users give them, such as ``org/model:tag``: of a workload, a split or a tag."""
MetricName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+:/@-]*$", max_length=200)]
"""A name of something evaluated, such as ``val/f1:macro``."""
PhaseName = FreeName
"""A name of a part of a run's time."""


def _check_named(text: str) -> str:
    """Refuse what is neither a `Name` nor a reference: it stands in tables and in names."""
    if is_reference(text):
        parse_reference(text)
    elif not re.fullmatch(_NAME, text):
        raise ValueError("should be a name, or module:attribute")
    return text


def _check_data(text: str) -> str:
    """The same of data, which may be named by their place."""
    if is_data_path(text) and text.isprintable():
        return text
    return _check_named(text)


_NAMED_SCHEMA = {"pattern": f":|{_NAME}"}
_Named = Annotated[
    str, Field(max_length=200, json_schema_extra=_NAMED_SCHEMA), AfterValidator(_check_named)
]
_Data = Annotated[str, Field(max_length=4096), AfterValidator(_check_data)]


class KnownConfig(StrictModel):
    """What readers rely on in the `config` of this package's own loop, as far as it is there."""

    recipe: Name | None = None
    """The recipe that the run started from."""
    dataset: _Data | None = None
    """The data set: a name, ``module:attribute``, or a place."""
    model: _Named | None = None
    """The network: a name, or ``module:attribute``."""
    loss: _Named | None = None
    """The loss: a name, or ``module:attribute``."""
    optimizer: _Named | None = None
    """The optimizer: a name, or ``module:attribute``."""
    lr_schedule: _Named | None = None
    """The learning rate's schedule: a name, or ``module:attribute``."""
    eval_split: Literal["val", "test"] = "val"
    """The split that steers: the curve and the target are of it."""
    target_accuracy: float | None = Field(None, gt=0, le=1)
    """The accuracy to reach, as a fraction."""


class KnownEnvironment(StrictModel):
    """What readers rely on in `environment`, as far as it is there."""

    versions: dict[str, Any] | None = None
    """Versions of libraries, by name."""
    mixed_precision: str | None = None
    """``no``, ``fp16``, ``bf16`` or ``fp8``."""
    global_batch_size: int | None = Field(None, ge=1)
    """Samples in a step, over all processes."""
    num_processes: int | None = Field(None, ge=1)
    """Processes that trained."""
    measured_alone: bool | None = None
    """Whether no other run shared its cores on purpose."""
    process: Literal["fresh", "warm"] | None = None
    """``warm``: a fork of a process that had imported what it needed. Else each run imports it."""
    lr_peak: float | None = Field(None, gt=0)
    """The highest learning rate."""
    eval_spacing: float | None = Field(None, gt=0, lt=1)
    """How far apart evaluations near the target are at most, as a share of all steps."""


def checked(values: dict[str, Any], *, shape: type[StrictModel], at: str = "") -> dict[str, Any]:
    """`values`, if what `shape` tells of them is right.

    Raises:
        ValueError: the first that is not, in one line that begins with `at`.
    """
    try:
        shape.model_validate(values, extra="ignore")
    except ValidationError as error:
        raise ValueError(at + one_line(error)) from None
    return values
