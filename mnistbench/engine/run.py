"""One run of one seed: build, warm up, train and evaluate."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn

from mnistbench.engine.data import RunData
from mnistbench.engine.distributed import shards_weights
from mnistbench.engine.evaluation import Evaluation
from mnistbench.engine.fast_step import FastStep
from mnistbench.engine.loops import build_loop
from mnistbench.instruments.canary import read_canary
from mnistbench.instruments.clock import EventTimer, Ledger, StepTimer, Timer
from mnistbench.instruments.environment import device_name
from mnistbench.instruments.progress import Progress
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Canary, CanaryReading, EvalPoint, Link, Status, finite
from mnistbench.workload.batches import Batch, BatchPlan
from mnistbench.workload.models import build_model
from mnistbench.workload.optimizers import build_optimizer
from mnistbench.workload.schedules import lr_at, lr_factor

__all__ = ["Run"]

_log = logging.getLogger(__name__)


class Run:
    """A run under way. What it holds at any moment is enough for its record."""

    def __init__(
        self,
        config: RunConfig,
        *,
        accelerator: Accelerator,
        data: RunData,
        ledger: Ledger,
        show_progress: bool = False,
    ) -> None:
        """`config.seed` is this run's seed; nothing is built before `prepare`."""
        self.config, self.accelerator, self.data, self.ledger = config, accelerator, data, ledger
        self.created_at = datetime.now(UTC)
        self.eval_points: list[EvalPoint] = []
        self.step = 0
        self.num_parameters: int | None = None
        self.loop_floor: str | None = None
        self.loop_floor_reason: str | None = None
        self.canary: Canary | None = None
        self.link: Link | None = None
        self.losses: list[Tensor] = []  # this process's, one tensor per stretch between evaluations
        self.timer = self._new_timer()
        self.exchange_timer: Timer | None = None
        self.lr_factor = lr_factor(config, accelerator.num_processes)
        self._show_progress = show_progress and accelerator.is_local_main_process
        per_device = (config.per_device_batch_size or 0) * accelerator.num_processes
        self.plan = self._plan(config.global_batch_size or per_device)

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
        self.loop_floor_reason = self.train_step.floor_reason
        if self.loop_floor_reason and self.accelerator.is_main_process:
            _log.warning(f"the fast loop fell to {self.loop_floor}: {self.loop_floor_reason}")

    def _time_exchanges(self) -> None:
        """Where they have a time of their own: DDP makes them while it computes, a graph within."""
        step = self.train_step
        if isinstance(step, FastStep) and step.floor != "graph" and self.plan.num_processes > 1:
            self.exchange_timer = step.exchange.timer = self._new_timer()

    def _new_timer(self) -> Timer:
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
        set_seed(config.seed, device_specific=True)  # dropout of its own on every process
        self.train_step, self.evaluator = build_loop(
            config, accelerator, loaded=self.data.loaded, model=model, optimizer=optimizer
        )

    def _warm_up(self) -> None:
        """Meet both shapes of an epoch, the full batch and the last one, before the clock runs."""
        try:
            self.train_step.warm_up(self.plan.edge_parts(), device=self.accelerator.device)
            if self.train_step.floor == "compiled":
                self.evaluator = self.evaluator.compiled(device=self.accelerator.device)
        except torch.OutOfMemoryError:
            raise InputError(
                f"global_batch_size: {self.plan.global_batch_size} samples do not fit the device's "
                "memory; use a smaller batch or model"
            ) from None
        except RuntimeError as error:
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

    def train(self) -> Status:
        """Train to the end, or to the target where the run stops there; then read the test set.

        Returns ``diverged`` as soon as an evaluation meets a loss that is not finite.
        """
        before = self._read_canary()
        status = self._train()
        self.canary = Canary(before=before, after=self._read_canary())
        return status

    def _read_canary(self) -> CanaryReading:
        return read_canary(self.accelerator.device, synchronize=self.ledger.synchronize)

    def _train(self) -> Status:
        config = self.config
        progress = Progress(
            num_steps=self.plan.num_steps,
            label=f"{config.recipe or config.model} seed {config.seed}",
            enabled=self._show_progress,
        )
        batches = self.data.batches(self.plan, config)
        try:
            for stop in self._eval_steps():
                self._train_until(stop, batches, progress)
                evaluation = self._evaluate(config.eval_split)
                if not math.isfinite(evaluation.train_loss + evaluation.loss):
                    return "diverged"
                progress.show(self.step, self._shown(evaluation))
                target = config.target_accuracy
                if config.stop_at_target and target is not None and evaluation.accuracy >= target:
                    break
            if config.eval_split != "test":
                self._evaluate("test")
        finally:
            progress.close()
        return "completed"

    def _eval_steps(self) -> Iterator[int]:
        every = self.config.eval_every_steps or self.plan.steps_per_epoch
        yield from range(every, self.plan.num_steps, every)
        yield self.plan.num_steps

    def _train_until(self, stop: int, batches: Iterator[Batch], progress: Progress) -> None:
        losses = torch.zeros(stop - self.step, device=self.accelerator.device)
        self.losses.append(losses)
        with self.ledger.phase("train"):
            self.timer.start()
            first, at_once = self.step, self.train_step.steps_per_call
            while self.step < stop:
                group = list(itertools.islice(batches, min(at_once, stop - self.step)))
                lrs = [self._lr(self.step + index) for index in range(len(group))]
                for loss in self.train_step.many(group, lrs=lrs):
                    losses[self.step - first] = loss
                    self.step += 1
                self.timer.mark(len(group))
                progress.step(self.step)

    def _lr(self, step: int) -> float:
        return self.lr_factor * lr_at(
            step,
            config=self.config,
            num_steps=self.plan.num_steps,
            steps_per_epoch=self.plan.steps_per_epoch,
        )

    def _evaluate(self, split: Literal["val", "test"]) -> Evaluation:
        images, labels = self.data.val if split == "val" else self.data.test
        with self.ledger.phase("eval"):
            evaluation = self.evaluator(
                images,
                labels,
                train_s=self.ledger.spent_s("train"),
                train_losses=self.losses[-1],
            )
        point = EvalPoint(
            step=self.step,
            epoch=self.step / self.plan.steps_per_epoch,
            samples_seen=self.plan.samples_seen(self.step),
            train_s=evaluation.train_s,
            eval_s=self.ledger.phases_s["eval"],
            wall_s=self.ledger.wall_s(),
            split=split,
            loss=finite(evaluation.loss),
            accuracy=evaluation.accuracy,
            num_samples=evaluation.num_samples,
        )
        self.eval_points.append(point)
        return evaluation

    def _shown(self, evaluation: Evaluation) -> dict[str, str]:
        """What the progress bar tells of the last evaluation."""
        speed = self.plan.samples_seen(self.step) / evaluation.train_s
        return {
            "loss": f"{evaluation.train_loss:.4f}",
            f"{self.config.eval_split} acc": f"{100 * evaluation.accuracy:.2f} %",
            "samples/s": f"{speed:,.0f}",
        }
