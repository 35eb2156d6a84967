"""What a record holds of what was measured: evaluations, losses, speeds, the machine, results."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

from mnistbench.schema.open_mappings import FreeName, MetricName
from mnistbench.schema.strict_model import StrictModel

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
"""The clock ledger's columns, in the order in which a run of this package's meets them."""

DATA_WAIT = "data_wait"
"""The phase in which a loop that is not ours waits for its loader."""
TRAIN_CLOCK = ("train", DATA_WAIT)
"""Phases that the train clock counts."""

_POINT = ConfigDict(extra="forbid", allow_inf_nan=False)
_Whole = Annotated[int, Strict()]
_Number = Annotated[float, Strict()]
"""A record has hundreds of points: with slots they take a fifth of the memory of models.

Were they strict by their own configuration, they would not be made of what JSON holds.
"""
_Seconds = Annotated[float, Field(ge=0)]
_Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(config=_POINT, frozen=True, slots=True, kw_only=True)
class EvalPoint:
    """One evaluation; what was not evaluated, or was not finite, is ``None``."""

    step: _Whole = Field(ge=0)
    """Optimizer steps made before it."""
    epoch: _Number | None = Field(None, ge=0)
    """Epochs trained before it; ``None`` where the loop did not say."""
    samples_seen: _Whole = Field(ge=0)
    """Samples trained on before it, over all processes."""
    train_s: _Number = Field(ge=0)
    """The train clock of the slowest process when it began [seconds]."""
    eval_s: _Number | None = Field(None, ge=0)
    """Time of all evaluations up to its end, on the main process [seconds]."""
    wall_s: _Number | None = Field(None, ge=0)
    """Time since the process started, at its end, on the main process [seconds]."""
    split: FreeName
    """What it was made on: ``val``, ``test``, …"""
    loss: _Number | None = None
    """Mean loss."""
    accuracy: _Number | None = Field(None, ge=0, le=1)
    """Accuracy, as a fraction."""
    num_samples: _Whole | None = Field(None, ge=1)
    """Samples that were counted, over all processes."""
    metrics: dict[MetricName, _Number | None] = Field(default_factory=dict)
    """All that was evaluated beside loss and accuracy, by name."""
    diverged: bool = False
    """Whether the loss was not finite."""

    def value_of(self, metric: str) -> float | None:
        """What was evaluated of `metric`: ``accuracy``, ``loss``, or one of `metrics`."""
        if metric in {"accuracy", "loss"}:
            return self.accuracy if metric == "accuracy" else self.loss
        return self.metrics.get(metric)


@dataclass(config=_POINT, frozen=True, slots=True, kw_only=True)
class TrainPoint:
    """The training loss between two points."""

    step: _Whole = Field(ge=1)
    """The last step that it is of."""
    epoch: _Number = Field(ge=0)
    """Epochs trained up to that step."""
    loss: _Number | None
    """Mean loss of the steps after the last point; ``None`` where it was not finite."""


class CanaryReading(StrictModel):
    """How fast the machine did two fixed pieces of work."""

    matmul_flops_per_s: float = Field(gt=0)
    """Floating-point operations per second of a matrix product."""
    copy_bytes_per_s: float = Field(gt=0)
    """Bytes per second of a copy in memory."""


class Canary(StrictModel):
    """The machine's own speed, on the main process."""

    before: CanaryReading
    """Right before the run trained."""
    after: CanaryReading
    """Right after."""


class Link(StrictModel):
    """What joins the processes, as an all-reduce round a ring of P finds it.

    ``2 (P - 1) latency_s + 2 (P - 1) / P · bytes / bandwidth_bytes_per_s`` seconds.
    """

    latency_s: _Seconds
    """Time of a message without contents [seconds]."""
    bandwidth_bytes_per_s: float = Field(gt=0)
    """Bytes per second."""


class StepSplit(StrictModel):
    """Where the time of a step goes, with several processes: medians over steps."""

    compute_s: _Seconds
    """Computing, as mean over processes [seconds]."""
    communication_s: _Seconds
    """The exchange of the process that came last, which waits for nobody [seconds]."""
    wait_s: _Seconds
    """What the exchange took the others beyond that, as mean over processes [seconds]."""
    skew_s: _Seconds
    """The slowest process's computing less the fastest's [seconds]."""
    slowest_process: int = Field(ge=0)
    """Index of the process that waited least in all."""


class Throughput(StrictModel):
    """Speed on the train clock: all samples over all of it, from step `from_step` on."""

    from_step: int = Field(1, ge=1)
    """The first step that counts: in other loops than ours the first compiles and warms up."""
    first_step_s: float | None = Field(None, ge=0)
    """Duration of the first step, where it does not count [seconds]."""
    samples_per_s: float | None = Field(None, ge=0)
    """Samples per second, over all processes."""
    step_s_p50: float | None = Field(None, ge=0)
    """Median duration of a step [seconds]."""
    step_s_p95: float | None = Field(None, ge=0)
    """Duration that 95 % of the steps stay below [seconds]."""
    step_split: StepSplit | None = None
    """Where the time of a step goes, with several processes."""


class Result(StrictModel):
    """What the run reached; a target of another metric is in the record's `target` alone."""

    test_accuracy: _Share | None = None
    """Accuracy on test at the end, as a fraction."""
    test_loss: float | None = None
    """Mean loss on test at the end."""
    val_accuracy: _Share | None = None
    """Accuracy on val at the end, as a fraction."""
    target_accuracy: Annotated[float, Field(gt=0, le=1)] | None = None
    """Accuracy to reach, on the split that steers, as a fraction."""
    time_to_accuracy_s: float | None = Field(None, ge=0)
    """The train clock of the first evaluation there [seconds]."""
    steps_to_accuracy: int | None = Field(None, ge=0)
    """Its step."""


def finite(value: float) -> float | None:
    """`value`, or ``None`` where it is NaN or infinite and strict JSON has no word for it."""
    return value if math.isfinite(value) else None
