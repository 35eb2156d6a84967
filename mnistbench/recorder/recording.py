"""A training loop that is not ours, recorded: `mnistbench.record`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mnistbench.recorder.batch_size import batch_counter, whole
from mnistbench.recorder.clock import Ledger, process_age_s
from mnistbench.recorder.endings import Endings, heard_endings, status_of
from mnistbench.recorder.evaluated_metrics import metric_values
from mnistbench.recorder.loop_record import loop_record, tally_of, together
from mnistbench.recorder.loop_saving import saved, writable_folder
from mnistbench.recorder.loop_settings import LoopSettings, checked_name
from mnistbench.recorder.machine_probe import probe_machine
from mnistbench.recorder.processes import Processes
from mnistbench.recorder.run_log import Outcome
from mnistbench.recorder.script_identity import Script, find_script
from mnistbench.recorder.step_counting import LoaderSteps, StepCounter
from mnistbench.recorder.telemetry import Telemeter
from mnistbench.recorder.used_device import used_device, waits_for
from mnistbench.schema.errors import InputError, first_line
from mnistbench.schema.open_mappings import FreeName, PhaseName
from mnistbench.schema.record import CanaryReading, EvalPoint, RunRecord, Status
from mnistbench.schema.streams import say

if TYPE_CHECKING:
    import torch

__all__ = ["Recording", "record"]


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
        quiet: print nothing at the end but warnings.

    Raises:
        InputError: one of these has to be mended.
    """
    told: dict[str, Any] = {
        "config": config,
        "seed": seed,
        "target": target,
        "output_dir": output_dir,
    }
    told |= {"ignore": ignore, "tags": tags, "extra": extra, "higher_is_better": higher_is_better}
    return Recording(LoopSettings.of(name, **told), quiet=quiet)


class Recording:
    """A loop that is recorded; see `record`.

    Attributes:
        record: what was written; ``None`` before the end, and on other processes than the main one.
    """

    _open: Recording | None = None  # of this process
    _is_first = True

    def __init__(self, settings: LoopSettings, *, quiet: bool) -> None:
        """Nothing is recorded before it is entered."""
        self._settings, self._quiet = settings, quiet
        self._pid: int | None = None
        self._endings = Endings()
        self._leaving = ExitStack()
        self._watching = ExitStack()
        self._outcome = Outcome()
        self._script = Script()
        self._processes = Processes()
        self._telemeter: Telemeter | None = None
        self._run_folder = settings.output_dir / settings.run_id
        self.record: RunRecord | None = None

    @property
    def seed(self) -> int | None:
        """The seed, by the argument or by ``MNISTBENCH_SEED``; ``None`` where neither says."""
        return self._settings.seed

    @property
    def run_id(self) -> str:
        """The run's name, which its folder has too."""
        return self._settings.run_id

    @property
    def run_folder(self) -> Path:
        """Where its files go; made by whoever writes first."""
        return self._run_folder

    @property
    def ledger(self) -> Ledger:
        """The clocks."""
        return self._entered("ledger").log.ledger

    @property
    def num_steps(self) -> int:
        """Steps made so far."""
        steps = self._entered("num_steps")
        steps.settle()
        return steps.log.step

    @property
    def eval_points(self) -> Sequence[EvalPoint]:
        """Evaluations so far."""
        return self._entered("eval_points").log.eval_points

    def __enter__(self) -> Self:
        before = Recording._open
        if before is not None and before._pid == os.getpid():  # noqa: SLF001 - of this class
            raise InputError(f"record: {before._settings.name!r} has not ended in this process")  # noqa: SLF001
        if self._pid is not None:
            raise InputError("record: this run was entered before; call mnistbench.record again")
        _refuse_worker()
        is_first, Recording._is_first, Recording._open = Recording._is_first, False, self
        self._pid = os.getpid()
        age_s = process_age_s() if is_first and _is_script() else 0.0
        self._steps = StepCounter(Ledger(age_s=age_s), at_begin=self._begin)
        self._endings = self._leaving.enter_context(heard_endings(self._exited))
        with self.ledger.phase("startup"):
            self._prepare()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_open():
            self._end(*status_of(error, self._endings.asked))

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
            loader: anything to iterate over; one pass.
            batches_per_step: batches to a step of the optimizer; the last step of a pass may have
                fewer.
            num_samples: samples in a batch, or a function of the batch that counts them. Default:
                the first size of the first tensor or array in it.

        Raises:
            InputError: an argument has to be mended, or another step is under way.
        """
        steps = self._entered("steps()")
        steps.check("steps()")
        number = whole(batches_per_step, field="batches_per_step", lowest=1)
        count = batch_counter(num_samples)
        if not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
            kind = type(loader).__name__
            raise InputError(f"steps: should be given a loader to iterate over (got {kind})")
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
        steps = self._entered("step()")
        samples = None if num_samples is None else whole(num_samples, field="num_samples")
        step = None if number is None else whole(number, field="number", lowest=1)
        return steps.one(samples, step)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside, the train clock pauses, and the time is ``eval``; a decorator as well."""
        with self._entered("evaluating()").paused("eval"):
            yield

    @contextmanager
    def paused(self, phase: str) -> Iterator[None]:
        """The same for time that is called `phase`, such as ``checkpoint``.

        Raises:
            InputError: `phase` is no name in small letters, or one that the loop itself has.
        """
        steps = self._entered("paused()")
        checked_name(phase, "phase", PhaseName)
        if phase in {"train", "data_wait", "import"}:
            raise InputError(f"phase: {phase} is what the loop itself is; choose another name")
        with steps.paused(phase):
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
        steps = self._entered("evaluated()")
        checked_name(split, "split", FreeName)
        number = None if num_samples is None else whole(num_samples, field="num_samples", lowest=1)
        with steps.paused("eval"):
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
        return log.evaluated(
            values,
            split=split,
            samples_seen=steps.num_samples or 0,
            epoch=steps.num_epochs,
            num_samples=number,
        )

    def _entered(self, what: str) -> StepCounter:
        if self._pid is None:
            raise InputError(
                f"{what}: the run has not begun; use `with mnistbench.record(…) as run`"
            )
        if not self._is_open():
            raise InputError(f"{what}: the run has ended, or is of another process")
        return self._steps

    def _prepare(self) -> None:
        """Find out what is to be known before anything is trained; no failure ends a run."""
        self._processes.join()
        if not self._processes.is_main:
            return
        if by_repr := self._settings.by_repr:
            say(f"config: JSON cannot hold {', '.join(by_repr)}; the repr is kept")
        self._telemeter = Telemeter(None)
        try:
            self._run_folder = writable_folder(self._run_folder)
            self._script = find_script()
        except Exception as error:
            say(f"warning: the record will not tell the code ({first_line(error)})")

    def _begin(self) -> None:
        """Right before the first step."""
        self._processes.join()
        device = used_device()
        if not self._processes.is_main:
            self._telemeter = None
        elif self._telemeter:
            self._telemeter.trains_on(device)
        watching = self._steps.log.watching(
            self._outcome, telemeter=self._telemeter, probe=partial(_probe, device)
        )
        self._watching.enter_context(watching)

    def _exited(self) -> None:
        """At the end of a process that never left the run."""
        if self._is_open():
            self._end("interrupted", "the process ended inside the run")

    def _is_open(self) -> bool:
        return Recording._open is self and self._pid == os.getpid()

    def _end(self, status: Status, error: str | None) -> None:
        """Leave the record; whatever goes wrong with it is said, and ends nothing."""
        self._endings.is_ending = True
        self._outcome.status, self._outcome.error = status, error
        try:
            self._finish()
        except Exception as problem:
            kind = type(problem).__name__
            say(f"warning: the run is not on record ({kind}: {first_line(problem)})")
        finally:
            Recording._open = None
            self._leaving.close()

    def _finish(self) -> None:
        steps, outcome, processes = self._steps, self._outcome, self._processes
        if outcome.status == "completed":
            steps.settle()
            steps.log.ledger.switch("other")
            self._watching.close()
        else:
            steps.drop()
            steps.log.ledger.synchronize = None  # a device that failed may never answer again
            ended = RuntimeError()
            with suppress(RuntimeError):  # nothing is probed after
                if not self._watching.__exit__(RuntimeError, ended, None):
                    raise ended
        processes.join()
        own = tally_of(steps, outcome)
        if not processes.is_main:
            processes.report(own)
            return
        is_over = outcome.status != "completed"
        counted = together(
            processes.collect(own, is_over=lambda: is_over or self._endings.asked is not None)
        )
        record = loop_record(self._settings, self._script, steps, outcome, counted)
        self.record = saved(record, self._run_folder, quiet=self._quiet)


def _probe(device: torch.device | None) -> CanaryReading | None:
    """The machine's speed, by torch where the loop has it."""
    if device is None or "torch" not in sys.modules:
        return None
    return probe_machine(device, synchronize=waits_for(device))


def _is_script() -> bool:
    """Whether this process was started for what it runs: no notebook, no shell, no tests."""
    interactive = hasattr(sys, "ps1") or sys.flags.interactive or "ipykernel" in sys.modules
    return not (interactive or "_pytest" in sys.modules)


def _refuse_worker() -> None:
    """Raise where a loader's worker calls."""
    data = sys.modules.get("torch.utils.data")
    if data is not None and data.get_worker_info() is not None:
        raise InputError(
            "record: this is a worker of a DataLoader; record the process that trains, and keep "
            'what starts it below `if __name__ == "__main__"`'
        )
