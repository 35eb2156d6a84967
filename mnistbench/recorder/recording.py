"""A training loop that is not ours, recorded: `mnistbench.record`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mnistbench.recorder.batch_size import batch_counter, whole
from mnistbench.recorder.callbacks import LightningEvents, TrainerEvents
from mnistbench.recorder.clock import Ledger
from mnistbench.recorder.hooks import Hook
from mnistbench.recorder.loop_run import LoopRun
from mnistbench.recorder.loop_settings import LoopSettings, checked_name, metric_values
from mnistbench.recorder.loop_watch import LoopWatch
from mnistbench.recorder.step_counting import LoaderSteps, StepCounter
from mnistbench.schema.errors import InputError
from mnistbench.schema.open_mappings import FreeName, PhaseName
from mnistbench.schema.record import EvalPoint, RunRecord


def record(  # noqa: PLR0913 - what a user may tell of a run
    name: str,
    *,
    config: Mapping[str, Any] | None = None,
    seed: int | None = None,
    target: Mapping[str, float] | None = None,
    higher_is_better: bool | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    ignore: Iterable[str] = (),
    tags: Iterable[str] = (),
    extra: Mapping[str, Any] | None = None,
    profile: str | Iterable[str] | None = None,
    profile_steps: str | None = None,
    diagnose: bool = False,
    hooks: Iterable[Hook] = (),
    quiet: bool = True,
) -> Recording:
    """Record a training loop: ``with mnistbench.record("resnet18") as run``.

    The run's record is written to ``OUTPUT_DIR/RUN_ID/record.json`` when the block ends, however it
    does. With several processes each calls this, and the main one writes.

    Args:
        name: what is trained.
        config: what makes this configuration, such as ``vars(args)``. Values of keys that name a
            secret are not written.
        seed: of the random numbers. Default: ``MNISTBENCH_SEED``, else not told.
        target: a metric and the value it is to reach, such as ``{"accuracy": 0.97}``.
        higher_is_better: which way the target's metric improves. Default: down for names like
            ``loss`` and ``perplexity``, else up.
        output_dir: parent folder. ``MNISTBENCH_OUTPUT_DIR`` wins over it. Default: ``runs``.
        ignore: keys of `config` that make no other configuration, such as ``log_dir``.
        tags: words to find the run by.
        extra: anything else to keep in the record.
        profile: watch some steps of the main process: ``torch`` (operators), ``memory``,
            ``sampling`` (Python's stack), ``nvtx``; files go to ``traces/`` in the run's folder.
            Such a run is in no comparison.
        profile_steps: which ones, as ``"A:B"``, counted from 0, without B. Default: 5:10 for
            ``torch`` and ``memory``.
        diagnose: say what a step is made of: waiting for data, exchange between processes, the
            rest. Several processes are profiled for it by ``torch``.
        hooks: are told of the run, its steps, evaluations and checkpoints, on every process
            (`mnistbench.recorder.hooks.Hook`). An evaluation is from `Recording.evaluating` to
            `Recording.evaluated`.
        quiet: print nothing at the end but warnings.

    Raises:
        InputError: one of these has to be mended.
    """
    told = {"config": config, "seed": seed, "target": target, "output_dir": output_dir}
    more = {"ignore": ignore, "tags": tags, "extra": extra, "higher_is_better": higher_is_better}
    settings = LoopSettings.of(name, **told, **more)
    watch = LoopWatch(hooks, profile=profile, profile_steps=profile_steps, diagnose=diagnose)
    return Recording(settings, watch, quiet=quiet)


class Recording:
    """A loop that is recorded; see `record`.

    `seed` is by the argument or by ``MNISTBENCH_SEED``, else ``None``; `run_id` is the run's name,
    which its folder has too.
    """

    def __init__(self, settings: LoopSettings, watch: LoopWatch, *, quiet: bool) -> None:
        """Nothing is recorded before it is entered."""
        self._settings, self._watch, self._quiet = settings, watch, quiet
        self.seed, self.run_id = settings.seed, settings.run_id
        self._run: LoopRun | None = None

    @property
    def run_folder(self) -> Path:
        """Where its files go; made by whoever writes first."""
        return self._run.folder if self._run else self._settings.run_folder

    @property
    def ledger(self) -> Ledger:
        """The clocks."""
        return self._steps("ledger", ended=True).log.ledger

    @property
    def num_steps(self) -> int:
        """Steps made so far."""
        return self._steps("num_steps", ended=True).num_made

    @property
    def eval_points(self) -> Sequence[EvalPoint]:
        """Evaluations so far."""
        return self._steps("eval_points", ended=True).log.eval_points

    @property
    def record(self) -> RunRecord | None:
        """What was written; ``None`` before the end, and on other processes than the main one."""
        return self._run.record if self._run else None

    def __enter__(self) -> Self:
        if self._run is not None:
            raise InputError("record: this run was entered before; call mnistbench.record again")
        self._run = LoopRun(self._settings, self._watch, quiet=self._quiet)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._run is not None:
            self._run.leave(error)

    def steps(
        self,
        loader: Iterable[Any],
        *,
        batches_per_step: int = 1,
        num_samples: int | Callable[[Any], int] | None = None,
    ) -> LoaderSteps:
        """The batches of `loader`, counted and timed: ``for images, labels in run.steps(loader)``.

        What passes until the loader gives a batch is ``data_wait``, the loop's body is ``train``.

        Args:
            loader: anything to iterate over; one pass, which the next call ends.
            batches_per_step: batches to a step of the optimizer; the last step of a pass may have
                fewer.
            num_samples: samples in a batch, or a function of the batch that counts them. Default:
                the first size of the first tensor or array in it.

        Raises:
            InputError: an argument has to be mended, or another step is under way.
        """
        steps = self._steps("steps()")
        steps.end_pass()
        steps.check("steps()")
        number = whole(batches_per_step, field="batches_per_step", lowest=1)
        count = batch_counter(num_samples)
        if not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
            kind = type(loader).__name__
            raise InputError(f"steps: should be given a loader to iterate over (got {kind})")
        self._watch.end_eval()
        return LoaderSteps(loader, steps.batches(loader, number, count))

    def step(
        self, *, num_samples: int | None = None, number: int | None = None
    ) -> AbstractContextManager[None]:
        """One step of a loop that has no loader: ``with run.step(num_samples=64)``.

        Args:
            num_samples: samples in it. Default: not counted; there are no samples/s then.
            number: the step's number, from 1. Default: one more than the last.

        Raises:
            InputError: an argument has to be mended, or another step is under way.
        """
        steps = self._steps("step()")
        samples = None if num_samples is None else whole(num_samples, field="num_samples")
        step = None if number is None else whole(number, field="number", lowest=1)
        self._watch.end_eval()
        return steps.one(samples, step)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside, the train clock pauses, and the time is ``eval``; a decorator as well."""
        with self._steps("evaluating()").paused("eval"):
            self._watch.begin_eval()
            yield

    @contextmanager
    def paused(self, phase: str) -> Iterator[None]:
        """The same for time that is called `phase`, such as ``checkpoint``.

        Raises:
            InputError: `phase` is no name, or one that the loop itself has.
        """
        steps = self._steps("paused()")
        checked_name(phase, "phase", PhaseName)
        if phase in {"train", "data_wait", "import"}:
            raise InputError(f"phase: {phase} is what the loop itself is; choose another name")
        around = self._watch.around("checkpoint") if phase == "checkpoint" else nullcontext()
        with around, steps.paused(phase):
            yield

    def evaluated(
        self,
        *,
        split: str = "val",
        step: int | None = None,
        num_samples: int | None = None,
        **metrics: Any,
    ) -> EvalPoint:
        """Note what was evaluated after the steps made so far: ``run.evaluated(accuracy=0.97)``.

        Args:
            split: of what data. Default: ``val``.
            step: to be checked: the number of steps made.
            num_samples: how many samples were evaluated.
            metrics: numbers by name, or tensors and arrays of one; ``accuracy`` is a fraction.
                Names with other signs go through ``**{"val/f1": 0.9}``.

        Raises:
            InputError: no step was made, it was evaluated before, or a metric is no number.
        """
        steps = self._steps("evaluated()")
        checked_name(split, "split", FreeName)
        number = None if num_samples is None else whole(num_samples, field="num_samples", lowest=1)
        with steps.paused("eval", is_pause=False):
            values = metric_values(metrics)
        log = steps.log
        if not steps.num_counted:
            raise InputError("evaluated: no step has been made; iterate over run.steps(loader)")
        if step is not None and step != log.step:
            raise InputError(
                f"step: {step!r:.90} is not the number of steps made, {log.step}; leave it out"
            )
        if any(point.step == log.step and point.split == split for point in log.eval_points):
            raise InputError(
                f"evaluated: {split} was evaluated at step {log.step} already; give all its "
                "metrics in one call"
            )
        with self._watch.evaluated():
            return log.evaluated(
                values,
                split=split,
                samples_seen=steps.num_samples or 0,
                epoch=steps.num_epochs,
                num_samples=number,
            )

    def trainer_callback(self, *, num_samples: int | Callable[[Any], int] | None = None) -> Any:
        """What records Hugging Face's Trainer: ``Trainer(callbacks=[run.trainer_callback()])``.

        `num_samples` is as for `steps`; a batch is what the model is called with, by name.

        Raises:
            InputError: transformers cannot be imported.
        """
        steps = self._steps("trainer_callback()")
        return TrainerEvents.callback(steps, self.evaluated, batch_counter(num_samples))

    def lightning_callback(self, *, num_samples: int | Callable[[Any], int] | None = None) -> Any:
        """What records Lightning: ``Trainer(callbacks=[run.lightning_callback()])``; as the other.

        Raises:
            InputError: neither lightning nor pytorch_lightning can be imported.
        """
        steps = self._steps("lightning_callback()")
        return LightningEvents.callback(steps, self.evaluated, batch_counter(num_samples))

    def _steps(self, what: str, *, ended: bool = False) -> StepCounter:
        """The steps of the run that is open, or if it may have `ended`, was."""
        if self._run is None:
            raise InputError(
                f"{what}: the run has not begun; use `with mnistbench.record(…) as run`"
            )
        if not (ended or self._run.is_open):
            raise InputError(f"{what}: the run has ended, or belongs to another process")
        return self._run.steps
