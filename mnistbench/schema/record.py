"""What a run leaves: the record, strict in what it holds.

A value that was not measured is ``None``: never a guess, never NaN. Durations are in seconds,
accuracies are fractions in [0, 1]. Keys may be added within a schema version; a record of a newer
version is refused by `mnistbench.schema.store.load_record`.
"""

from __future__ import annotations

import math
import re
import reprlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = [
    "PHASES",
    "SCHEMA_VERSION",
    "Canary",
    "CanaryReading",
    "DatasetInfo",
    "EvalPoint",
    "Name",
    "Phase",
    "RecipeInfo",
    "Result",
    "RunRecord",
    "Source",
    "Status",
    "Throughput",
    "TrainPoint",
    "finite",
]

SCHEMA_VERSION = 1

Phase = Literal[
    "import",
    "startup",
    "data",
    "build",
    "compile",
    "train",
    "eval",
    "checkpoint",
    "profile",
    "other",
]
PHASES: tuple[Phase, ...] = Phase.__args__  # type: ignore[attr-defined]
"""The clock ledger's columns, in the order in which a run meets them."""

Source = Literal["local", "downloaded", "generated"]
Status = Literal["completed", "diverged", "interrupted", "failed"]


_NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
Name = Annotated[str, Field(pattern=_NAME, max_length=200)]
"""A name as this package gives them: no markup, no path, nothing that a terminal obeys."""

_NAMES = ("recipe", "dataset", "model", "loss", "optimizer")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class RecipeInfo(_Part):
    """The recipe a run started from, and which of its values were changed."""

    name: Name
    source: str
    claim: str | None = None
    claimed_accuracy: float | None = Field(None, ge=0, le=1)
    changed: list[str] = []


class DatasetInfo(_Part):
    """The data a run really used; counts are images, `sha256` is of all pixels and labels."""

    name: Name
    source: Source
    sha256: str
    num_train: int = Field(ge=0)
    num_val: int = Field(ge=0)
    num_test: int = Field(ge=0)


class EvalPoint(_Part):
    """One evaluation.

    `train_s` is the train clock of the slowest process when it began; on the main process's clocks,
    `eval_s` is the sum of all evaluations up to its end and `wall_s` what had passed then since the
    process started. Records from before these clocks were kept have ``None`` there.
    """

    step: int = Field(ge=0)
    epoch: float = Field(ge=0)
    samples_seen: int = Field(ge=0)
    train_s: float = Field(ge=0)
    eval_s: float | None = Field(None, ge=0)
    wall_s: float | None = Field(None, ge=0)
    split: Literal["train", "val", "test"]
    loss: float | None
    accuracy: float = Field(ge=0, le=1)


class TrainPoint(_Part):
    """Mean training loss over the steps after the last point, up to and with `step`."""

    step: int = Field(ge=1)
    epoch: float = Field(ge=0)
    loss: float | None


class CanaryReading(_Part):
    """How fast the machine did two fixed pieces of work: a matrix product and a memory copy."""

    matmul_flops_per_s: float = Field(gt=0)
    copy_bytes_per_s: float = Field(gt=0)


class Canary(_Part):
    """The machine's own speed right before and right after a run trained (main process)."""

    before: CanaryReading
    after: CanaryReading


class Throughput(_Part):
    """Speed on the train clock: all samples over all of it; step durations at two quantiles."""

    samples_per_s: float | None = Field(None, ge=0)
    step_s_p50: float | None = Field(None, ge=0)
    step_s_p95: float | None = Field(None, ge=0)


class Result(_Part):
    """What the run reached; the times belong to `target_accuracy` on the run's eval split."""

    test_accuracy: float | None = Field(None, ge=0, le=1)
    test_loss: float | None = None
    val_accuracy: float | None = Field(None, ge=0, le=1)
    target_accuracy: float | None = Field(None, gt=0, le=1)
    time_to_accuracy_s: float | None = Field(None, ge=0)
    steps_to_accuracy: int | None = Field(None, ge=0)


class RunRecord(_Part):
    """One run of one seed, as ``record.json`` holds it.

    `config` and `environment` stay open mappings, so that an older reader can still show them.
    """

    schema_version: int = Field(SCHEMA_VERSION, ge=1)
    run_id: Name
    status: Status
    error: str | None = None
    created_at: str
    seed: int
    recipe: RecipeInfo | None
    config: dict[str, Any]
    environment: dict[str, Any]
    dataset: DatasetInfo | None
    num_parameters: int | None = Field(None, ge=0)
    num_epochs: float = Field(0.0, ge=0)
    num_steps: int = Field(0, ge=0)
    eval_points: list[EvalPoint] = []
    train_points: list[TrainPoint] = []
    phases_s: dict[Phase, float]
    wall_s: float = Field(ge=0)
    canary: Canary | None = None
    throughput: Throughput = Throughput()
    result: Result = Result()

    @field_validator("config")
    @classmethod
    def _check_names(cls, config: dict[str, Any]) -> dict[str, Any]:
        for key in _NAMES:
            name = config.get(key)
            if name is not None and not (isinstance(name, str) and re.match(_NAME, name)):
                raise ValueError(f"{key} should be a name (got {reprlib.repr(name)})")
        return config


def finite(value: float) -> float | None:
    """`value`, or ``None`` where it is NaN or infinite and strict JSON has no word for it."""
    return value if math.isfinite(value) else None
