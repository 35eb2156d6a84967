"""The loop of a run: windows of steps, and between them looks, evaluations and checkpoints."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from mnistbench.engine.checkpoint import checkpoint_files
from mnistbench.engine.distributed import shards_weights
from mnistbench.engine.evaluation import Evaluation
from mnistbench.engine.health_check import HealthCheck
from mnistbench.engine.run import Run
from mnistbench.engine.stop_signals import StopSignals, stop_error
from mnistbench.recorder.machine_probe import probe_machine
from mnistbench.recorder.progress import Progress
from mnistbench.schema.record import Canary, CanaryReading, EvalPoint, Status, finite
from mnistbench.workload.batches import Batch
from mnistbench.workload.schedules import lr_at

__all__ = ["Training"]

_NO_LOSSES = torch.zeros(0)


class Training:
    """Trains a prepared `Run` from where it is to its end.

    Everything that decides what comes next is in the run, so that one which was stopped anywhere
    goes on as if it had not been.
    """

    def __init__(self, run: Run, stops: StopSignals) -> None:
        """`stops` says what signals ask for."""
        self._run, self._stops = run, stops
        self._lookout = HealthCheck(run.accelerator, at_once=run.train_step.steps_per_call)
        config, num_steps = run.config, run.plan.num_steps
        self._eval_every = config.eval_every_steps or run.plan.steps_per_epoch
        self._save_every = config.checkpoint_every_steps
        self._progress = Progress(
            num_steps=num_steps,
            label=f"{config.recipe or config.model} seed {config.seed}",
            enabled=run.show_progress,
        )
        self._window_s = 0.0

    def __call__(self) -> Status:
        """Train to the end, or to the target where the run stops there; then read the test set.

        Returns ``diverged`` as soon as a loss or a weight is found not to be finite.

        Raises:
            KeyboardInterrupt: a signal came to one of the processes; all have saved their state
                after the same step.
            RunError: a checkpoint could not be saved.
        """
        run = self._run
        with run.hooks.around("run", run):
            if run.telemeter:
                run.telemeter.begin()
            before = self._read_canary()
            run.accelerator.wait_for_everyone()
            try:
                status = self._train()
            finally:
                self._progress.close()
                run.telemetry = run.telemeter.reading() if run.telemeter else None
            run.canary = Canary(before=before, after=self._read_canary())
        return status

    def _read_canary(self) -> CanaryReading:
        run = self._run
        return probe_machine(run.accelerator.device, synchronize=run.ledger.synchronize)

    def _train(self) -> Status:
        run = self._run
        batches = run.data.batches(run.plan.after(run.step), run.config)
        while not self._is_over():
            with run.hooks.around("epoch", run):
                if not self._train_epoch(batches):
                    return "diverged"
        if "test" not in {run.config.eval_split, run.eval_points[-1].split}:
            self._evaluate("test")
        self._agree(_NO_LOSSES)
        if self._save_every or run.stop_signal:  # so that a command with more seeds can go on
            self._save(at_end=True)
        return "completed"

    def _train_epoch(self, batches: Iterator[Batch]) -> bool:
        """Train to the end of the epoch, or if no hook asks, of the run; whether all is well."""
        run, end = self._run, self._run.num_steps
        if run.hooks.watch_epochs:
            end = run.step + run.steps_per_epoch - run.step % run.steps_per_epoch
        while not self._is_over() and (run.step < end or self._is_to_evaluate()):
            if self._is_to_evaluate():
                evaluation = self._evaluate(run.config.eval_split)
                self._progress.show(run.step, self._shown(evaluation))
                well = math.isfinite(evaluation.loss) and self._look(_NO_LOSSES)
            else:
                well = self._look(self._train_window(batches, self._window_end(end)))
            if not well:
                return False
            if self._is_to_save():
                self._save()
        return True

    def _is_over(self) -> bool:
        """Whether nothing is left to train, or the run is to stop where it is."""
        config, here = self._run.config, self._point_here()
        if here is None:
            return False
        at_target = config.stop_at_target and here.accuracy >= (config.target_accuracy or 1)
        return at_target or self._run.step == self._run.plan.num_steps

    def _is_to_evaluate(self) -> bool:
        step = self._run.step
        due = step % self._eval_every == 0 or step == self._run.plan.num_steps
        return step > 0 and due and self._point_here() is None

    def _is_to_save(self) -> bool:
        every = self._save_every
        return bool(every) and self._run.step % (every or 1) == 0 and not self._is_to_evaluate()

    def _point_here(self) -> EvalPoint | None:
        """The evaluation on the split that steers, if there was one after this very step."""
        here = self._run.step, self._run.config.eval_split
        return next((p for p in self._run.eval_points[-2:] if (p.step, p.split) == here), None)

    def _window_end(self, epoch_end: int) -> int:
        """The step up to which nothing but training is to do."""
        step, last = self._run.step, self._run.num_steps
        ends = [
            every * (step // every + 1) for every in (self._eval_every, self._save_every or last)
        ]
        return min(*ends, epoch_end, last, step + self._lookout.window_steps)

    def _train_window(self, batches: Iterator[Batch], end: int) -> Tensor:
        """Train to step `end`; gives this process's losses."""
        run, first = self._run, self._run.step
        losses, began_s = run.losses.window(end - first), run.ledger.spent_s("train")
        train = self._train_watched if run.hooks.watch_steps else self._train_some
        with run.ledger.phase("train"):
            run.timer.start()
            while run.step < end:
                for loss in train(batches, end):
                    losses[run.step - first] = loss
                    run.step += 1
                self._progress.step(run.step)
        self._window_s = run.ledger.spent_s("train") - began_s
        return losses

    def _train_some(self, batches: Iterator[Batch], end: int) -> Sequence[Tensor]:
        """Make the steps that are made as one, up to `end`; gives their losses."""
        run = self._run
        number = min(run.train_step.steps_per_call, end - run.step)
        group = list(itertools.islice(batches, number))
        lrs = [self._lr(run.step + index) for index in range(len(group))]
        losses = run.train_step.many(group, lrs=lrs)
        run.timer.mark(len(group))
        return losses

    def _train_watched(self, batches: Iterator[Batch], end: int) -> Sequence[Tensor]:
        """The same with hooks around it, and these not in its time."""
        with self._run.hooks.around("step", self._run):
            self._run.timer.start()
            return self._train_some(batches, end)

    def _lr(self, step: int) -> float:
        run = self._run
        return run.lr_factor * lr_at(
            step,
            config=run.config,
            num_steps=run.plan.num_steps,
            steps_per_epoch=run.plan.steps_per_epoch,
        )

    def _look(self, losses: Tensor) -> bool:
        """Whether all is well on all processes; where one is to stop, save and raise."""
        self._agree(losses)
        run = self._run
        if run.bad_step is not None:
            return False
        if run.stop_signal:
            counts = run.saver.counts
            self._save(cause=run.stop_signal, at_end=True)
            saved = "saved" if run.saver.counts.saved > counts.saved else "not saved"
            said = f"after step {run.step:,} of {run.plan.num_steps:,}, {saved}"
            run.stopped_together = True
            raise stop_error(run.stop_signal, f"{said} in {run.saver.run_folder}")
        return True

    def _agree(self, losses: Tensor) -> None:
        """Have all processes know what any of them sees, and note it in the run."""
        run = self._run
        if run.telemeter:
            run.telemeter.sample()
        sight = self._lookout.look(
            losses,
            run.model.parameters(),
            elapsed_s=self._window_s,
            signal=self._stops.asked,
        )
        run.stop_signal = sight.signal
        if sight.bad_step is not None:
            run.bad_step = run.step - len(losses) + sight.bad_step

    def _save(self, *, cause: int = 0, at_end: bool = False) -> None:
        """Save a checkpoint; one at the end may fail, as nothing depends on it."""
        run = self._run
        if shards_weights(run.accelerator):
            return
        with run.hooks.around("checkpoint", run), run.ledger.phase("checkpoint"):
            run.saver.save(run.step, checkpoint_files(run, cause=cause), go_on=at_end)

    def _evaluate(self, split: Literal["val", "test"]) -> Evaluation:
        with self._run.hooks.around("eval", self._run):
            return self._evaluate_unwatched(split)

    def _evaluate_unwatched(self, split: Literal["val", "test"]) -> Evaluation:
        run = self._run
        images, labels = run.data.val if split == "val" else run.data.test
        since = run.eval_points[-1].step if run.eval_points else 0
        with run.ledger.phase("eval"):
            evaluation = run.evaluator(
                images,
                labels,
                train_s=run.ledger.spent_s("train"),
                train_losses=run.losses.until(run.step)[since:],
            )
        point = EvalPoint(
            step=run.step,
            epoch=run.step / run.plan.steps_per_epoch,
            samples_seen=run.plan.samples_seen(run.step),
            train_s=evaluation.train_s,
            eval_s=run.ledger.phases_s["eval"],
            wall_s=run.ledger.wall_s(),
            split=split,
            loss=finite(evaluation.loss),
            accuracy=evaluation.accuracy,
            num_samples=evaluation.num_samples,
        )
        run.eval_points.append(point)
        return evaluation

    def _shown(self, evaluation: Evaluation) -> dict[str, str]:
        """What the progress bar tells of the last evaluation."""
        run = self._run
        speed = run.plan.samples_seen(run.step) / evaluation.train_s
        return {
            "loss": f"{evaluation.train_loss:.4f}",
            f"{run.config.eval_split} acc": f"{100 * evaluation.accuracy:.2f} %",
            "samples/s": f"{speed:,.0f}",
        }
