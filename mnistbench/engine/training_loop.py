"""The loop of a run: windows of steps, and between them checks, evaluations and checkpoints."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

from mnistbench.engine.checkpoint import checkpoint_files
from mnistbench.engine.evaluation import Evaluation
from mnistbench.engine.evaluation_schedule import EvaluationSchedule
from mnistbench.engine.fast_step import FastStep
from mnistbench.engine.health_check import HealthCheck
from mnistbench.engine.process_group import check_group
from mnistbench.engine.run import Guards, Run
from mnistbench.recorder.hooks import Hooks
from mnistbench.recorder.machine_probe import probe_machine
from mnistbench.schema.component import short_name
from mnistbench.schema.errors import RunError
from mnistbench.schema.record import CheckpointCounts, Status
from mnistbench.schema.signals import stop_error
from mnistbench.workload.batches import Batch
from mnistbench.workload.schedules import lr_at

_NO_LOSSES = torch.zeros(0)


class TrainingLoop:
    """Trains a built `Run` from where it is to its end.

    Everything that decides what comes next is in the run, so that one which was stopped anywhere
    goes on as if it had not been.
    """

    def __init__(self, run: Run, *, hooks: Hooks, guards: Guards) -> None:
        """All that ends a run in order is in `guards`."""
        self._run, self._hooks, self._view = run, hooks, run.view()
        self._writer, self._stops, self._watchdog = guards
        self._state, self._outcome, self._step = run.state, run.outcome, run.parts.step
        self._telemeter = run.context.telemeter
        accelerator, config = run.context.accelerator, run.config
        self._health = HealthCheck(
            accelerator,
            group=check_group(accelerator, timeout_s=config.process_timeout_s),
            at_once=self._step.steps_per_call,
        )
        self._schedule = EvaluationSchedule(
            config=config,
            steps_per_epoch=run.context.batch_plan.steps_per_epoch,
            num_steps=run.num_steps,
        )
        self._save_every = config.checkpoint_every_steps
        is_shown = run.context.show_progress and accelerator.is_local_main_process
        self._bar = tqdm(
            total=run.num_steps,
            desc=f"{config.recipe or short_name(config.model)} seed {config.seed}",
            unit="step",
            leave=False,
            disable=None if is_shown else True,  # None: only where stderr is no terminal
        )
        self._window_s = 0.0
        self._is_sharded = run.parts.plan.gradient_exchange == "fsdp"

    def __call__(self) -> None:
        """Train to the end, or to the target where the run stops there; then read the test set.

        The outcome is ``diverged`` as soon as a loss or a weight is found not to be finite.

        Raises:
            KeyboardInterrupt: a signal came to one of the processes; all have saved their state
                after the same step.
            RunError: a checkpoint could not be saved.
        """
        device, wait = self._run.context.accelerator.device, self._state.ledger.synchronize
        probe = partial(probe_machine, device, synchronize=wait)
        watching = self._state.watching(self._outcome, telemeter=self._telemeter, probe=probe)
        step, timer = self._step, self._state.exchange_timer
        exchanges = step.allreduce.timed(timer) if isinstance(step, FastStep) else nullcontext()
        with self._hooks.around("run", self._view), exchanges, watching:
            self._run.context.accelerator.wait_for_everyone()
            with closing(self._bar):
                self._outcome.status = self._train()

    def _train(self) -> Status:
        run, context = self._run, self._run.context
        batches = context.data.batches(context.batch_plan.after(run.step), run.config)
        while not self._is_over():
            with self._hooks.around("epoch", self._view):
                if not self._train_epoch(batches):
                    return "diverged"
        if "test" not in {run.config.eval_split, self._state.eval_points[-1].split}:
            self._evaluate("test")
        self._sync_health(_NO_LOSSES)
        if self._save_every or self._outcome.stop_signal:  # a command with more seeds can go on
            self._save(at_end=True)
        return "completed"

    def _train_epoch(self, batches: Iterator[Batch]) -> bool:
        """Train to the end of the epoch, or if no hook asks, of the run; whether all is well."""
        run, end = self._run, self._run.num_steps
        if self._hooks.watch_epochs:
            end = (
                run.step
                + run.context.batch_plan.steps_per_epoch
                - run.step % run.context.batch_plan.steps_per_epoch
            )
        while not self._is_over() and (run.step < end or self._is_to_evaluate()):
            if self._is_to_evaluate():
                evaluation = self._evaluate(run.config.eval_split)
                self._bar.set_postfix(self._shown(evaluation))
                well = math.isfinite(evaluation.loss) and self._check_health(_NO_LOSSES)
            else:
                losses = self._train_window(batches, self._window_end(end))
                well = self._check_health(losses)
            if not well:
                return False
            if self._is_to_save():
                self._save()
        return True

    def _is_over(self) -> bool:
        """Whether nothing is left to train, or the run is to stop where it is."""
        config, here = self._run.config, (self._run.step, self._run.config.eval_split)
        last = next((p for p in self._state.eval_points[-2:] if (p.step, p.split) == here), None)
        if last is None:  # it was not evaluated after this very step
            return False
        target = config.target if config.stop_at_target else None
        at_target = target is not None and target.is_reached_by(last)
        return at_target or self._run.step == self._run.num_steps

    def _is_to_evaluate(self) -> bool:
        return self._schedule.is_due(self._run.step, self._state.eval_points)

    def _is_to_save(self) -> bool:
        every = self._save_every
        return bool(every) and self._run.step % (every or 1) == 0 and not self._is_to_evaluate()

    def _window_end(self, epoch_end: int) -> int:
        """The step up to which nothing but training is to do."""
        step, every = self._run.step, self._save_every or self._run.num_steps
        to_save = every * (step // every + 1)
        to_evaluate = self._schedule.next_step(self._state.eval_points)
        return min(to_evaluate, to_save, epoch_end, step + self._health.window_steps)

    def _train_window(self, batches: Iterator[Batch], end: int) -> Tensor:
        """Train to step `end`; gives this process's losses."""
        state, first = self._state, self._state.step
        losses, began_s = state.losses[first:end], state.ledger.spent_s("train")
        train = self._train_hooked if self._hooks.watch_steps else self._train_some
        with state.ledger.phase("train"):
            state.timer.start()
            while state.step < end:
                for loss in train(batches, end):
                    losses[state.step - first] = loss
                    state.step += 1
                self._show_step(state.step)
        self._window_s = state.ledger.spent_s("train") - began_s
        return losses

    def _show_step(self, step: int) -> None:
        self._bar.update(step - self._bar.n)

    def _train_some(self, batches: Iterator[Batch], end: int) -> Sequence[Tensor]:
        """Make the steps that are made as one, up to `end`; gives their losses."""
        first = self._state.step
        number = min(self._step.steps_per_call, end - first)
        group = list(itertools.islice(batches, number))
        lrs = [self._lr(first + index) for index in range(len(group))]
        losses = self._step.train_steps(group, lrs=lrs)
        self._state.timer.mark(len(group))
        return losses

    def _train_hooked(self, batches: Iterator[Batch], end: int) -> Sequence[Tensor]:
        """The same with hooks around it, and these not in its time."""
        with self._hooks.around("step", self._view):
            self._state.timer.start()
            return self._train_some(batches, end)

    def _lr(self, step: int) -> float:
        run = self._run
        return run.context.lr_factor * lr_at(
            step,
            config=run.context.config,
            num_steps=run.context.batch_plan.num_steps,
            steps_per_epoch=run.context.batch_plan.steps_per_epoch,
        )

    def _check_health(self, losses: Tensor) -> bool:
        """Whether all is well on all processes; where one is to stop, save and raise."""
        self._sync_health(losses)
        run, outcome = self._run, self._outcome
        if outcome.bad_step is not None:
            return False
        if outcome.stop_signal:
            is_saved = self._save(cause=outcome.stop_signal, at_end=True)
            saved = "saved" if is_saved else "not saved"
            said = f"after step {run.step:,} of {run.num_steps:,}, {saved}"
            outcome.stopped_together = True
            raise stop_error(outcome.stop_signal, f"{said} in {run.context.run_folder}")
        return True

    def _sync_health(self, losses: Tensor) -> None:
        """Have all processes know what any of them sees, and note it."""
        if self._telemeter:
            self._telemeter.sample()
        self._watchdog.arm()  # anew: the check's own wait ends first, and names who is silent
        status = self._health.check(
            losses,
            self._run.parts.model.parameters(),
            elapsed_s=self._window_s,
            signal=self._stops.asked,
        )
        self._watchdog.arm()  # all have answered
        self._outcome.stop_signal = status.signal
        if status.bad_step is not None:
            self._outcome.bad_step = self._state.step - len(losses) + status.bad_step
        elif self._run.parts.plan.own and not (self._is_sharded or status.same_weights):
            said = (
                f"processes hold different weights after step {self._state.step:,}; an optimizer "
                "that draws random numbers needs a torch.Generator of its own, seeded alike in all"
            )
            raise RunError(said if self._run.context.accelerator.is_main_process else "")

    def _save(self, *, cause: int = 0, at_end: bool = False) -> bool:
        """Save a checkpoint, if one can be; one at the end may fail, as nothing depends on it."""
        run, state = self._run, self._state
        if self._is_sharded:
            return False
        is_saved = False
        try:
            with self._hooks.around("checkpoint", self._view), state.ledger.phase("checkpoint"):
                files = checkpoint_files(run, cause=cause)
                is_saved = self._writer.save(state.step, files, go_on=at_end)
        finally:
            saved, failed = state.counts.saved + is_saved, state.counts.failed + (not is_saved)
            state.counts = CheckpointCounts(saved=saved, failed=failed)
        return is_saved

    def _evaluate(self, split: Literal["val", "test"]) -> Evaluation:
        state, context = self._state, self._run.context
        images, labels = context.data.val if split == "val" else context.data.test
        since = state.eval_points[-1].step if state.eval_points else 0
        with self._hooks.around("eval", self._view):
            with state.ledger.phase("eval"):
                evaluation = self._run.parts.evaluator(
                    images,
                    labels,
                    train_s=state.ledger.spent_s("train"),
                    train_losses=state.losses[since : state.step],
                )
            state.evaluated(
                {"loss": evaluation.loss, "accuracy": evaluation.accuracy},
                split=split,
                samples_seen=context.batch_plan.samples_seen(state.step),
                train_s=evaluation.train_s,
                epoch=state.step / context.batch_plan.steps_per_epoch,
                num_samples=evaluation.num_samples,
            )
        return evaluation

    def _shown(self, evaluation: Evaluation) -> dict[str, str]:
        """What the progress bar tells of the last evaluation."""
        run = self._run
        speed = run.context.batch_plan.samples_seen(run.step) / evaluation.train_s
        return {
            "loss": f"{evaluation.train_loss:.4f}",
            f"{run.config.eval_split} acc": f"{100 * evaluation.accuracy:.2f} %",
            "samples/s": f"{speed:,.0f}",
        }
