"""What a run leaves: the record, strict in what it holds.

A value that was not measured is ``None``: never a guess, never NaN. Durations are in seconds,
accuracies are fractions in [0, 1]. A later release may add keys within a schema version, and reads
what older ones wrote. A reader passes over keys that it does not know, and refuses a record of a
newer version (`mnistbench.schema.store.load_record`); what writes one holds to the keys below.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from mnistbench.schema.insight import Profile, StepCosts, Telemetry
from mnistbench.schema.measurements import (
    DATA_WAIT,
    PHASES,
    TRAIN_CLOCK,
    Canary,
    CanaryReading,
    EvalPoint,
    Link,
    Phase,
    Result,
    StepSplit,
    Throughput,
    TrainPoint,
    finite,
)
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

__all__ = [  # which others read from here
    "DATA_WAIT",
    "PHASES",
    "TRAIN_CLOCK",
    "Canary",
    "CanaryReading",
    "CodeInfo",
    "Component",
    "DatasetInfo",
    "EvalPoint",
    "Link",
    "Name",
    "Phase",
    "RecipeInfo",
    "Result",
    "Source",
    "StepSplit",
    "Target",
    "Throughput",
    "TrainPoint",
    "WorkloadInfo",
    "finite",
]

SCHEMA_VERSION = 2

_Seconds = Annotated[float, Field(gt=0)]
Status = Literal["completed", "diverged", "interrupted", "failed"]
StopSignal = Literal["SIGINT", "SIGTERM", "SIGHUP"]

Fact = str | bool | None
"""What one name tells of the code: a commit, whether it was changed, a version."""


class Interruption(StrictModel):
    """Where a run had ended and went on later; what came after its checkpoint is in no time."""

    step: int = Field(ge=0)
    """Step of the checkpoint that it went on from."""
    cause: StopSignal | None
    """The signal that it was saved at; ``None`` is an end without a word."""
    saved_at: str
    """When that was, in ISO 8601."""
    resumed_at: str
    """When it went on, in ISO 8601."""
    num_processes: int = Field(ge=1)
    """Processes before."""
    code_changes: dict[str, Annotated[list[Fact], Field(min_length=2, max_length=2)]] | None = None
    """What differs in code and versions: name -> [before, after]."""


class CheckpointCounts(StrictModel):
    """What became of the checkpoints."""

    saved: int = Field(0, ge=0)
    """How many were saved."""
    failed: int = Field(0, ge=0)
    """How many could not be."""


class RunRecord(StrictModel):
    """One run of one seed, as ``record.json`` holds it.

    Units are in the names of keys: ``_s`` seconds, ``_bytes``, ``_hz``, ``_j`` joules, ``_c``
    degrees Celsius. Accuracies and utilisations are fractions. What was not measured is ``null``.
    """

    schema_version: int = Field(SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    """Version of these keys; a later one may hold more, and other meanings."""
    run_id: Name
    """Name of the run, and of its folder."""
    invocation: Name | None = None
    """Name of the command; runs of one are its seeds."""
    status: Status
    """How the run ended."""
    error: str | None = None
    """Why it did not complete, in one line."""
    created_at: str
    """When it began, in ISO 8601."""
    seed: int | None
    """The seed; ``None`` was not told, and each such run is a sample of its own."""
    workload: WorkloadInfo | None = None
    """What was trained, and by what loop; ``None`` is this package's own."""
    recipe: RecipeInfo | None = None
    """The recipe that it started from."""
    config: dict[str, Any]
    """What was asked for: the flags of this package's own loop, else what its user gave."""
    ignored: list[str] = Field(default_factory=list)
    """Keys of `config` that make no other configuration."""
    tags: list[FreeName] = Field(default_factory=list)
    """Names that its user gave it."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Anything else that its user wants kept."""
    environment: Annotated[dict[str, Any], AfterValidator(partial(checked, shape=KnownEnvironment))]
    """Versions, machine, processes, precision and commit, as they were found."""
    dataset: DatasetInfo | None = None
    """The data that were used."""
    code: list[CodeInfo] = Field(default_factory=list)
    """Code of the user's own that ran."""
    num_parameters: int | None = Field(None, ge=0)
    """Trainable parameters."""
    num_epochs: float = Field(0.0, ge=0)
    """Epochs trained."""
    num_steps: int = Field(0, ge=0)
    """Optimizer steps made."""
    eval_points: list[EvalPoint] = Field(default_factory=list)
    """All evaluations, in their order."""
    train_points: list[TrainPoint] = Field(default_factory=list)
    """The training loss, by step."""
    metrics: dict[MetricName, float | None] = Field(default_factory=dict)
    """The last value of each metric, on the split that steers."""
    target: Target | None = None
    """What the run was to reach, and when it did."""
    phases_s: dict[PhaseName, float]
    """What the time was spent on: phase -> seconds, which come to `wall_s`."""
    wall_s: float = Field(ge=0)
    """Time from the process's start to the result [seconds]."""
    stood_still_s: float | None = Field(None, ge=0)
    """How long at least a process did not run while it trained, though clocks did [seconds]."""
    canary: Canary | None = None
    """The machine's own speed before and after."""
    link: Link | None = None
    """What joins the processes."""
    interruptions: list[Interruption] = Field(default_factory=list)
    """Where the run was broken off and went on."""
    checkpoints: CheckpointCounts = CheckpointCounts()
    """How many checkpoints there were."""
    telemetry: Telemetry | None = None
    """The machine while the run trained."""
    profile: Profile | None = None
    """What was seen of profiled steps."""
    step_costs: StepCosts | None = None
    """What a step is made of."""
    throughput: Throughput = Throughput()
    """How fast it trained."""
    result: Result = Result()
    """What it reached."""
    alone_step_s: Annotated[list[_Seconds], Field(min_length=2)] | None = None
    """After runs side by side: seconds per step of its configuration alone, one value a window."""
    alone_at: str | None = None
    """When the first window began, in ISO 8601; windows of runs with the same were in turn."""
    alone_threads: int | None = Field(None, ge=1)
    """CPU threads of each process in these windows."""

    @model_validator(mode="after")
    def _check_config(self) -> Self:
        if not self.is_foreign:
            checked(self.config, shape=KnownConfig, at="config: ")
            if self.eval_points and "eval_split" not in self.config:
                raise ValueError("config: eval_split is missing, which its eval_points belong to")
        return self

    @property
    def is_foreign(self) -> bool:
        """Whether another loop than this package's own trained: its `config` has other keys."""
        return self.workload is not None and self.workload.framework != "mnistbench"

    @property
    def own_config(self) -> dict[str, Any]:
        """The flags of this package's own loop; of another, whose keys may mean anything, none."""
        return {} if self.is_foreign else self.config

    @property
    def versions(self) -> dict[str, Any]:
        """Versions of libraries, by name; empty where they are not told."""
        return self.environment.get("versions") or {}

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

    @property
    def window_step_s(self) -> tuple[float, ...]:
        """Seconds per step that turn its steps to a target into time; none if its own time counts.

        That is so unless it ran beside others and its configuration was measured alone.
        """
        beside = self.environment.get("measured_alone") is False
        return tuple(self.alone_step_s or ()) if beside else ()

    def __repr__(self) -> str:
        """One line: which run it is, how it ended and what it reached."""
        accuracy, speed = self.result.test_accuracy, self.throughput.samples_per_s
        ours = map(self.own_config.get, ("model", "loss"))
        named, metric = self.recipe or self.workload, self.target and self.target.metric
        reached = self.metrics.get(metric) if metric else None
        told = [
            *(named.name if named else None, *ours),
            *(None if self.seed is None else f"seed {self.seed}", self.status),
            None if accuracy is None else f"test accuracy {100 * accuracy:.2f} %",
            None if reached is None or accuracy is not None else f"{metric} {reached:.4g}",
            None if speed is None else f"{speed:,.0f} samples/s",
        ]
        return f"<RunRecord {self.run_id}: {', '.join(filter(None, told))}>"

    __str__ = __repr__
