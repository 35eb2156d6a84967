"""Reference curves: how the seeds of a recipe learn, kept to tell a run that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mnistbench.schema.errors import InputError
from mnistbench.schema.strict_json import load_versioned
from mnistbench.schema.strict_model import StrictModel

REFERENCE_SCHEMA_VERSION = 1
_MAX_REFERENCE_BYTES = 2**23


class ReferencePoint(StrictModel):
    """The mean accuracy over seeds at one evaluation, and the band for one more honest run.

    Accuracies are fractions in [0, 1].
    """

    step: int = Field(ge=0)
    epoch: float = Field(ge=0)
    mean: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)


class ReferenceCurve(StrictModel):
    """The curve of one recipe on one data set, and all that a run must share to be held to it.

    `settings` are the configuration values that decide the curve
    (`mnistbench.schema.training_fields.curve_settings`), `made_by` the command that wrote this.
    """

    schema_version: int = Field(REFERENCE_SCHEMA_VERSION, ge=1)
    recipe: str
    dataset: str
    sha256: str
    split: Literal["val", "test"]
    num_train: int = Field(ge=0)
    global_batch_size: int = Field(ge=1)
    settings: dict[str, Any]
    n: int = Field(ge=2)
    seeds: list[int]
    points: list[ReferencePoint] = Field(min_length=1)
    made_by: str


def load_reference(path: Path) -> ReferenceCurve:
    """Read one reference curve strictly.

    Raises:
        InputError: not readable, too large, not strict JSON, of a newer schema, or of wrong shape.
    """
    return load_versioned(
        path,
        ReferenceCurve,
        what="a reference curve",
        newest=REFERENCE_SCHEMA_VERSION,
        max_bytes=_MAX_REFERENCE_BYTES,
    )


def find_references(folder: Path) -> list[Path]:
    """The ``.json`` files in `folder`, in order of their names.

    Raises:
        InputError: `folder` is no folder or holds none.
    """
    found = sorted(folder.glob("*.json")) if folder.is_dir() else []
    if not found:
        raise InputError(f"references: no reference curve (.json) in {folder}")
    return found
