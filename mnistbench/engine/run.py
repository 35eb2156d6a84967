"""One run of one seed: build, warm up, train and evaluate."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from secrets import token_hex

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn

from mnistbench.engine.build_step import build_loop, goes_by_process
from mnistbench.engine.checkpoint import restore
from mnistbench.engine.checkpoint_writer import CheckpointWriter
from mnistbench.engine.data import RunData
from mnistbench.engine.distributed import decide_together, shards_weights
from mnistbench.engine.fast_step import FastStep
from mnistbench.engine.loss_history import LossHistory
from mnistbench.engine.memory import is_out_of_memory, smaller_batch
from mnistbench.engine.resume import check_same, new_invocation
from mnistbench.engine.run_hooks import Watch
from mnistbench.recorder.clock import EventTimer, Ledger, StepTimer, Timer
from mnistbench.recorder.environment import device_name
from mnistbench.recorder.hooks import Hooks
from mnistbench.recorder.telemetry import Telemeter
from mnistbench.schema.checkpoint import SavedRun
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError, SaidElsewhereError
from mnistbench.schema.insight import StepCosts, Telemetry
from mnistbench.schema.record import Canary, EvalPoint, Interruption, Link
from mnistbench.workload.batches import BatchPlan
from mnistbench.workload.models import build_model
from mnistbench.workload.optimizers import build_optimizer
from mnistbench.workload.schedules import lr_factor

__all__ = ["Run"]

_log = logging.getLogger(__name__)


class Run:
    """A run under way. What it holds at any moment is enough for its record and its checkpoint."""

    def __init__(
        self,
        config: RunConfig,
        *,
        accelerator: Accelerator,
        data: RunData,
        ledger: Ledger,
        show_progress: bool = False,
    ) -> None:
        """`config.seed` is this run's seed; nothing is built before `prepare`.

        Every process must call this.
        """
        self.config, self.accelerator, self.data, self.ledger = config, accelerator, data, ledger
        self.created_at, self.run_id = decide_together(accelerator, partial(_new_name, config))
        self.eval_points: list[EvalPoint] = []
        self.step = 0
        self.bad_step: int | None = None
        self.stop_signal = 0
        self.stopped_together = False
        self.interruptions: list[Interruption] = []
        self.invocation = new_invocation(config)
        self.num_parameters: int | None = None
        self.loop_floor: str | None = None
        self.loop_floor_reason: str | None = None
        self.canary: Canary | None = None
        self.link: Link | None = None
        self.telemeter: Telemeter | None = None
        self.telemetry: Telemetry | None = None
        self.step_costs: StepCosts | None = None
        self.watch = Watch()
        self.losses = LossHistory(accelerator.device)
        self.timer = self.new_timer()
        self.exchange_timer: Timer | None = None
        self.lr_factor = lr_factor(config, accelerator.num_processes)
        self.show_progress = show_progress and accelerator.is_local_main_process
        per_device = (config.per_device_batch_size or 0) * accelerator.num_processes
        self.plan = self._plan(config.global_batch_size or per_device)
        self.saver = CheckpointWriter(
            Path(config.output_dir).expanduser() / self.run_id,
            accelerator,
            go_on=config.on_checkpoint_error == "continue",
        )

    @property
    def hooks(self) -> Hooks:
        """All that watches it."""
        return self.watch.hooks

    @property
    def run_folder(self) -> Path:
        """Where all its files go."""
        return self.saver.run_folder

    @property
    def num_steps(self) -> int:
        """Steps that it is to make."""
        return self.plan.num_steps

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the training split."""
        return self.plan.steps_per_epoch

    @property
    def global_batch_size(self) -> int:
        """Samples in a step over all processes."""
        return self.plan.global_batch_size

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes the record."""
        return bool(self.accelerator.is_main_process)

    @property
    def process_index(self) -> int:
        """This process's number among all."""
        return int(self.accelerator.process_index)

    def prepare(self) -> None:
        """Build the workload and warm it up, outside the train clock.

        Raises:
            InputError: the device's memory or the compiler is not up to it.
        """
        with self.ledger.phase("build"):
            self._build()
        with self.ledger.phase("compile"):
            self._warm_up()
        self._time_exchanges()
        self.loop_floor = self.train_step.floor
        self.loop_floor_reason = self.train_step.fallback_reason
        if self.loop_floor_reason and self.accelerator.is_main_process:
            _log.warning(f"the fast loop fell to {self.loop_floor}: {self.loop_floor_reason}")

    def resume(self, saved: SavedRun) -> None:
        """Go on where `saved` was; every process must call this, after `prepare`.

        Raises:
            InputError: it is of another data set, batch, precision or, where that would change the
                curve, number of processes; or it does not fit this network.
        """
        found = {
            "num_processes": self.plan.num_processes,
            "gradient_accumulation_steps": self.config.gradient_accumulation_steps,
            "global_batch_size": self.plan.global_batch_size,
            "mixed_precision": self.accelerator.mixed_precision,
            "device_type": self.accelerator.device.type,
            "loop_floor": self.loop_floor,
            "dataset": self.data.info.sha256[:12],
        }
        parity = goes_by_process(self.model)
        decide_together(self.accelerator, lambda: check_same(saved, found, parity=parity))
        patience_s = self.config.process_timeout_s / 2  # the others wait for it
        decide_together(self.accelerator, lambda: self.saver.take(saved, patience_s=patience_s))
        try:
            restore(self, saved)
        except InputError as error:
            if self.accelerator.is_main_process:
                raise
            raise SaidElsewhereError(str(error)) from None
        self.saver.run_folder = saved.run_folder  # on the main process it is that already
        if self.accelerator.is_main_process:
            _log.info(f"going on from step {self.step:,} of {saved.run_folder}")

    def what_is_wrong(self) -> str | None:
        """Why a run diverged, in words; none of one that did not."""
        if self.bad_step is not None:
            return f"the loss or a weight was not finite at step {self.bad_step}"
        bad = [point for point in self.eval_points[-1:] if point.loss is None]
        return f"the {bad[0].split} loss was not finite after step {self.step}" if bad else None

    def _time_exchanges(self) -> None:
        """Where they have a time of their own: DDP makes them while it computes, a graph within."""
        step = self.train_step
        if isinstance(step, FastStep) and step.floor != "graph" and self.plan.num_processes > 1:
            self.exchange_timer = step.exchange.timer = self.new_timer()

    def new_timer(self) -> Timer:
        """What times this device's steps."""
        if self.accelerator.device.type == "cuda":
            return EventTimer(partial(torch.cuda.Event, enable_timing=True))
        return StepTimer()

    def _plan(self, global_batch_size: int) -> BatchPlan:
        num_train = self.data.info.num_train
        all_steps = -(-num_train // global_batch_size) * self.config.num_epochs
        return BatchPlan(
            num_samples=num_train,
            global_batch_size=global_batch_size,
            num_steps=min(all_steps, self.config.max_steps or all_steps),
            seed=self.config.seed,
            process_index=self.accelerator.process_index,
            num_processes=self.accelerator.num_processes,
        )

    def _build(self) -> None:
        config, accelerator = self.config, self.accelerator
        set_seed(config.seed)  # the same weights on every process
        if shards_weights(accelerator):  # FSDP2 has neither
            config = config.model_copy(update={"channels_last": False, "fused_optimizer": False})
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        model = build_model(config).to(accelerator.device).to(memory_format=layout)
        self.num_parameters = sum(parameter.numel() for parameter in model.parameters())
        if accelerator.device.type == "cuda" and accelerator.num_processes > 1:
            # over the global batch, as on one process; torch has it on CUDA only
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        model, optimizer = accelerator.prepare(model, build_optimizer(model, config))
        self.model = accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        self.optimizer = optimizer.optimizer
        set_seed(config.seed, device_specific=True)  # dropout of its own on every process
        self.train_step, self.evaluator = build_loop(
            config, accelerator, loaded=self.data.loaded, model=model, optimizer=optimizer
        )

    def _warm_up(self) -> None:
        """Meet both shapes of an epoch, the full batch and the last one, before the clock runs."""
        try:
            self.train_step.warm_up(self.plan.warmup_shards(), device=self.accelerator.device)
            if self.train_step.floor == "compiled":
                self.evaluator = self.evaluator.compiled(device=self.accelerator.device)
        except RuntimeError as error:
            if is_out_of_memory(error):
                size = self.plan.global_batch_size
                raise InputError(smaller_batch(self.config, size)) from None
            if not self.config.compile:
                raise
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"compile: {reason}; use --no-compile") from None

    def summary(self) -> str:
        """One line on what is about to be trained, where."""
        config, device = self.config, self.accelerator.device
        return (
            f"training {config.recipe or config.model}, seed {config.seed}, on "
            f"{self.data.info.name} ({self.data.info.source}): {self.num_parameters:,} parameters, "
            f"{self.plan.num_steps:,} steps of {self.plan.global_batch_size} samples, "
            f"{self.accelerator.num_processes} process(es) on {device_name(device)} with "
            f"{torch.get_num_threads()} thread(s) each"
        )


def _new_name(config: RunConfig) -> tuple[str, str]:
    """Now, in ISO 8601, and a name for a run that begins now."""
    now = datetime.now(UTC)
    name = f"{config.recipe or config.model}-seed{config.seed}"
    run_id = f"{now:%Y%m%d-%H%M%S}-{name}-{token_hex(2)}"
    return now.isoformat(timespec="milliseconds"), run_id
