"""A run as four parts: its context, what was built for it, its state, and how it went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mnistbench.engine.checkpoint_writer import CheckpointWriter
from mnistbench.engine.data import RunData
from mnistbench.engine.evaluation import Evaluator
from mnistbench.engine.fast_step import FastStep
from mnistbench.engine.observed import Observed
from mnistbench.engine.plan import ExecutionPlan
from mnistbench.engine.resume import Invocation
from mnistbench.engine.stock_step import StockStep
from mnistbench.engine.watchdog import Watchdog
from mnistbench.recorder.clock import Timer
from mnistbench.recorder.environment import device_name
from mnistbench.recorder.hooks import Hook, RunView
from mnistbench.recorder.run_log import Outcome, RunLog
from mnistbench.recorder.stop_signals import StopSignals
from mnistbench.recorder.telemetry import Telemeter
from mnistbench.schema.checkpoint import SavedRun
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import CheckpointCounts, Interruption, Link, RunRecord
from mnistbench.schema.user_code import UserCode
from mnistbench.workload.batches import BatchPlan

Step = FastStep | StockStep


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the seeds of one command share.

    Attributes:
        config: what was asked for; its ``output_dir`` is where an earlier command left its runs.
        code: source of the user's own components, as it was imported.
        interconnect: between processes, where there are several.
        telemeter: reads the machine's sensors, on the main process alone.
        found: by seed, the record of a run that has ended, or where it can go on.
        hooks: those that Python code adds.
    """

    config: RunConfig
    accelerator: Accelerator
    plan: ExecutionPlan
    code: Sequence[UserCode]
    data: RunData
    invocation: Invocation
    interconnect: Link | None
    telemeter: Telemeter | None
    found: Mapping[int, RunRecord | SavedRun]
    hooks: Sequence[Hook] = ()
    show_progress: bool = False


@dataclass(frozen=True, kw_only=True)
class RunContext(Setting):
    """What a run is given, the same from its start to its end; ``config.seed`` is its seed.

    Attributes:
        created_at: when it began, in its first life [ISO 8601].
        lr_factor: by which ``config.lr`` is scaled.
        saved: the checkpoint that it goes on from, if any.
    """

    batch_plan: BatchPlan
    run_id: str
    created_at: str
    run_folder: Path
    lr_factor: float
    saved: SavedRun | None


@dataclass(frozen=True, kw_only=True)
class BuiltParts:
    """What was built for a run.

    Attributes:
        model: owns the weights, without a wrapper for several processes.
        optimizer: torch's own.
        observed: what the warm-up saw run; ``None`` before it.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: Step
    evaluator: Evaluator
    num_parameters: int
    observed: Observed | None = None

    @property
    def plan(self) -> ExecutionPlan:
        """How the run computes, as it came out."""
        return self.step.plan


@dataclass(kw_only=True)
class TrainingState(RunLog):
    """What changes while a run trains: with the tensors of its parts, what a checkpoint saves.

    `losses` are this process's weighted ones, one for each step to be made; `exchange_timer` is
    there where exchanges have a time of their own.
    """

    losses: Tensor
    exchange_timer: Timer | None = None
    interruptions: list[Interruption] = field(default_factory=list)
    counts: CheckpointCounts = field(default_factory=CheckpointCounts)


@dataclass(kw_only=True)
class TrainingOutcome(Outcome):
    """How a run went, as far as it came.

    `bad_step` is where a loss or weight was not finite, `stop_signal` what ended it, or 0;
    `stopped_together`: all processes ended at that signal after the same step.
    """

    bad_step: int | None = None
    stop_signal: int = 0
    stopped_together: bool = False


class Guards(NamedTuple):
    """What keeps a run's state and ends it in order."""

    writer: CheckpointWriter
    stops: StopSignals
    watchdog: Watchdog


class Run(NamedTuple):
    """A run that was built: its four parts together."""

    context: RunContext
    parts: BuiltParts
    state: TrainingState
    outcome: TrainingOutcome

    @property
    def config(self) -> RunConfig:
        """What was asked for."""
        return self.context.config

    @property
    def step(self) -> int:
        """Steps made so far."""
        return self.state.step

    @property
    def num_steps(self) -> int:
        """Steps that it is to make."""
        return self.context.batch_plan.num_steps

    def view(self) -> RunView:
        """What hooks may read of it."""
        context, plan = self.context, self.context.batch_plan
        return RunView(
            config=context.config,
            log=self.state,
            run_id=context.run_id,
            run_folder=context.run_folder,
            num_steps=plan.num_steps,
            steps_per_epoch=plan.steps_per_epoch,
            global_batch_size=plan.global_batch_size,
            num_processes=context.accelerator.num_processes,
            process_index=context.accelerator.process_index,
        )

    def summary(self) -> str:
        """One line on what is about to be trained, where."""
        config, device, data = self.config, self.context.accelerator.device, self.context.data.info
        processes, threads = self.context.batch_plan.num_processes, torch.get_num_threads()
        return (
            f"training {config.recipe or config.model}, seed {config.seed}, on "
            f"{data.name} ({data.source}): {self.parts.num_parameters:,} parameters, "
            f"{self.num_steps:,} steps of {self.context.batch_plan.global_batch_size} samples, "
            f"{processes} process{'es' * (processes > 1)} on {device_name(device)} with "
            f"{threads} thread{'s' * (threads > 1)} each"
        )
