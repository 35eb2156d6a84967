"""What a run leaves: the record, strict in what it holds.

A value that was not measured is ``None``: never a guess, never NaN. Durations are in seconds,
accuracies are fractions in [0, 1]. A later release may add keys within a schema version, and reads
what older ones wrote. A reader passes over keys that it does not know, and refuses a record of a
newer version (`mnistbench.schema.store.load_record`); what writes one holds to the keys below.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, Strict, model_validator
from pydantic.dataclasses import dataclass

from mnistbench.schema.insight import Profile, StepCosts, Telemetry
from mnistbench.schema.open_mappings import (
    FreeName,
    KnownConfig,
    KnownEnvironment,
    MetricName,
    Name,
    PhaseName,
    checked,
)
from mnistbench.schema.provenance import (
    CodeInfo,
    Component,
    DatasetInfo,
    RecipeInfo,
    Source,
    WorkloadInfo,
)
from mnistbench.schema.strict_model import StrictModel
from mnistbench.schema.target import Target

__all__ = [
    "DATA_WAIT",
    "PHASES",
    "SCHEMA_VERSION",
    "TRAIN_CLOCK",
    "Canary",
    "CanaryReading",
    "CheckpointCounts",
    "CodeInfo",
    "Component",
    "DatasetInfo",
    "EvalPoint",
    "Fact",
    "Interruption",
    "Link",
    "Name",
    "Phase",
    "RecipeInfo",
    "Result",
    "RunRecord",
    "Source",
    "Status",
    "StepSplit",
    "StopSignal",
    "Target",
    "Throughput",
    "TrainPoint",
    "WorkloadInfo",
    "finite",
]

SCHEMA_VERSION = 2

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

Status = Literal["completed", "diverged", "interrupted", "failed"]
StopSignal = Literal["SIGINT", "SIGTERM", "SIGHUP"]

Fact = str | bool | None
"""What one name tells of the code: a commit, whether it was changed, a version."""

_POINT = ConfigDict(extra="forbid", allow_inf_nan=False)
_Whole = Annotated[int, Strict()]
_Number = Annotated[float, Strict()]
"""A record has hundreds of points: with slots they take a fifth of the memory of models.

Were they strict by their own configuration, they would not be made of what JSON holds.
"""


@dataclass(config=_POINT, frozen=True, slots=True, kw_only=True)
class EvalPoint:
    """One evaluation.

    `train_s` is the train clock of the slowest process when it began; on the main process's clocks,
    `eval_s` is the sum of all evaluations up to its end and `wall_s` what had passed then since the
    process started; `num_samples` is how many samples were counted, over all processes. `metrics`
    is all that was evaluated beside loss and accuracy. What was not evaluated is ``None``; so is
    what was not finite, and where that was the loss, the run has `diverged`.
    """

    step: _Whole = Field(ge=0)
    epoch: _Number | None = Field(None, ge=0)
    samples_seen: _Whole = Field(ge=0)
    train_s: _Number = Field(ge=0)
    eval_s: _Number | None = Field(None, ge=0)
    wall_s: _Number | None = Field(None, ge=0)
    split: FreeName
    loss: _Number | None = None
    accuracy: _Number | None = Field(None, ge=0, le=1)
    num_samples: _Whole | None = Field(None, ge=1)
    metrics: dict[MetricName, _Number | None] = Field(default_factory=dict)
    diverged: bool = False

    def value_of(self, metric: str) -> float | None:
        """What was evaluated of `metric`: ``accuracy``, ``loss``, or one of `metrics`."""
        if metric in {"accuracy", "loss"}:
            return self.accuracy if metric == "accuracy" else self.loss
        return self.metrics.get(metric)


@dataclass(config=_POINT, frozen=True, slots=True, kw_only=True)
class TrainPoint:
    """Mean training loss over the steps after the last point, up to and with `step`."""

    step: _Whole = Field(ge=1)
    epoch: _Number = Field(ge=0)
    loss: _Number | None


class CanaryReading(StrictModel):
    """How fast the machine did two fixed pieces of work: a matrix product and a memory copy."""

    matmul_flops_per_s: float = Field(gt=0)
    copy_bytes_per_s: float = Field(gt=0)


class Canary(StrictModel):
    """The machine's own speed right before and right after a run trained (main process)."""

    before: CanaryReading
    after: CanaryReading


class Link(StrictModel):
    """What joins the processes, as an all-reduce round a ring of P finds it.

    ``2 (P - 1) latency_s + 2 (P - 1) / P · bytes / bandwidth_bytes_per_s`` seconds.
    """

    latency_s: float = Field(ge=0)
    bandwidth_bytes_per_s: float = Field(gt=0)


class StepSplit(StrictModel):
    """Where the time of a step goes, with several processes: medians over steps [seconds].

    `compute_s` and `wait_s` are means over processes; `communication_s` is the exchange of the
    process that came last, which waits for nobody; `wait_s` is what it took the others beyond that.
    `skew_s` is the slowest process's computing less the fastest's, `slowest_process` the one that
    waited least in all.
    """

    compute_s: float = Field(ge=0)
    communication_s: float = Field(ge=0)
    wait_s: float = Field(ge=0)
    skew_s: float = Field(ge=0)
    slowest_process: int = Field(ge=0)


class Throughput(StrictModel):
    """Speed on the train clock: all samples over all of it; step durations at two quantiles.

    Of a loop that is not ours the steps before `from_step`, which compile and warm up, are in no
    figure here; the first of them took `first_step_s`.
    """

    from_step: int = Field(1, ge=1)
    first_step_s: float | None = Field(None, ge=0)
    samples_per_s: float | None = Field(None, ge=0)
    step_s_p50: float | None = Field(None, ge=0)
    step_s_p95: float | None = Field(None, ge=0)
    step_split: StepSplit | None = None


class Result(StrictModel):
    """What the run reached; the times belong to `target_accuracy` on the run's eval split.

    A target of another metric is in the record's `target` alone.
    """

    test_accuracy: float | None = Field(None, ge=0, le=1)
    test_loss: float | None = None
    val_accuracy: float | None = Field(None, ge=0, le=1)
    target_accuracy: float | None = Field(None, gt=0, le=1)
    time_to_accuracy_s: float | None = Field(None, ge=0)
    steps_to_accuracy: int | None = Field(None, ge=0)


class Interruption(StrictModel):
    """Where a run had ended and went on later: at the checkpoint of `step`.

    `cause` is the signal that it was saved at; ``None`` is an end without a word: what came after
    that checkpoint is in no time here. `num_processes` is of before; times of day are in ISO 8601.
    `code_changes` are name -> [before, after] of what differs in code and versions.
    """

    step: int = Field(ge=0)
    cause: StopSignal | None
    saved_at: str
    resumed_at: str
    num_processes: int = Field(ge=1)
    code_changes: dict[str, Annotated[list[Fact], Field(min_length=2, max_length=2)]] | None = None


class CheckpointCounts(StrictModel):
    """How many checkpoints were saved, and how many could not be."""

    saved: int = Field(0, ge=0)
    failed: int = Field(0, ge=0)


class RunRecord(StrictModel):
    """One run of one seed, as ``record.json`` holds it.

    `config` and `environment` stay open mappings, so that an older reader can still show them; of
    what they hold, only that which readers rely on is checked. `config` is a `RunConfig` where this
    package's own loop trained, else what its user gave; keys in `ignored` make no other
    configuration. `metrics` are the last values of each, on the split that steers. A `seed` of
    ``None`` was not told. Runs of one `invocation` are the seeds of one command. For
    `stood_still_s` at least, nothing of a process ran while it trained and evaluated, though its
    clocks did: of the process that stood longest.
    """

    schema_version: int = Field(SCHEMA_VERSION, ge=1)
    run_id: Name
    invocation: Name | None = None
    status: Status
    error: str | None = None
    created_at: str
    seed: int | None
    workload: WorkloadInfo | None = None
    recipe: RecipeInfo | None = None
    config: dict[str, Any]
    ignored: list[str] = Field(default_factory=list)
    tags: list[FreeName] = Field(default_factory=list)
    extra: dict[str, Any] = Field(default_factory=dict)
    environment: Annotated[dict[str, Any], AfterValidator(partial(checked, shape=KnownEnvironment))]
    dataset: DatasetInfo | None = None
    code: list[CodeInfo] = Field(default_factory=list)
    num_parameters: int | None = Field(None, ge=0)
    num_epochs: float = Field(0.0, ge=0)
    num_steps: int = Field(0, ge=0)
    eval_points: list[EvalPoint] = Field(default_factory=list)
    train_points: list[TrainPoint] = Field(default_factory=list)
    metrics: dict[MetricName, float | None] = Field(default_factory=dict)
    target: Target | None = None
    phases_s: dict[PhaseName, float]
    wall_s: float = Field(ge=0)
    stood_still_s: float | None = Field(None, ge=0)
    canary: Canary | None = None
    link: Link | None = None
    interruptions: list[Interruption] = Field(default_factory=list)
    checkpoints: CheckpointCounts = CheckpointCounts()
    telemetry: Telemetry | None = None
    profile: Profile | None = None
    step_costs: StepCosts | None = None
    throughput: Throughput = Throughput()
    result: Result = Result()

    @model_validator(mode="after")
    def _check_config(self) -> Self:
        if not self.is_foreign:
            checked(self.config, shape=KnownConfig)
            if self.eval_points and "eval_split" not in self.config:
                raise ValueError("config: eval_split is missing, which its eval_points belong to")
        return self

    @property
    def is_foreign(self) -> bool:
        """Whether another loop than this package's own trained: its `config` has other keys."""
        return self.workload is not None and self.workload.framework != "mnistbench"

    @property
    def eval_split(self) -> str | None:
        """The split that its curve, and its target, are of."""
        if not self.is_foreign:
            return self.config.get("eval_split")
        if self.target is not None:
            return self.target.split
        return next((p.split for p in self.eval_points if p.split != "train"), None)

    @property
    def train_s(self) -> float:
        """The train clock at its end [seconds]."""
        return sum(self.phases_s.get(phase, 0.0) for phase in TRAIN_CLOCK)

    def __repr__(self) -> str:
        """One line: which run it is, how it ended and what it reached."""
        accuracy, speed = self.result.test_accuracy, self.throughput.samples_per_s
        ours = [] if self.is_foreign else map(self.config.get, ("model", "loss"))
        named = self.recipe or self.workload
        told = [
            *(named.name if named else None, *ours),
            *(f"seed {self.seed}", self.status),
            None if accuracy is None else f"test accuracy {100 * accuracy:.2f} %",
            None if speed is None else f"{speed:,.0f} samples/s",
        ]
        return f"<RunRecord {self.run_id}: {', '.join(filter(None, told))}>"

    __str__ = __repr__


def finite(value: float) -> float | None:
    """`value`, or ``None`` where it is NaN or infinite and strict JSON has no word for it."""
    return value if math.isfinite(value) else None
