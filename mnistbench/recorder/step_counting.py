"""The steps of a loop that is not ours, as one process counts and times them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from mnistbench.recorder.batch_size import counted, differing_sizes
from mnistbench.recorder.clock import Ledger, StepTimer
from mnistbench.recorder.run_log import RunLog
from mnistbench.recorder.telemetry import Telemeter
from mnistbench.recorder.used_device import step_timer, used_device, waits_for
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import DATA_WAIT

_MOST_EVENTS = 1000
"""Steps after which those that the device has made become numbers."""

Around = Callable[[], AbstractContextManager[object]]


class StepCounter:
    """Counts steps and samples, and switches the clocks between training and all else.

    Attributes:
        log: clocks, durations of steps, evaluations.
        num_samples: samples in all steps so far; ``None`` where a step did not tell.
        num_counted: steps made here, which are fewer than ``log.step`` where a loop went on.
        first_step_s: how long the first one took, which compiles and warms up; `first_wait_s` of
            it for the loader.
        odd_sizes: what to say of a first batch whose number of samples is in doubt.
        num_pauses: how often the loop was stopped for something else.
        device: what the first step was found to use.
        around_steps: what surrounds each step, if anything does.
    """

    def __init__(self, ledger: Ledger, *, at_begin: Callable[[], None]) -> None:
        """`at_begin` is called once, right before the first step."""
        self.log = RunLog(ledger=ledger, timer=StepTimer())
        self.num_samples: int | None = 0
        self.num_counted = 0
        self.first_step_s: float | None = None
        self.first_wait_s = 0.0
        self.first_samples = 0
        self.odd_sizes: str | None = None
        self.num_pauses = 0
        self.device = used_device()
        self.telemeter: Telemeter | None = None
        self.around_steps: Around | None = None
        self._sizes: dict[int, int] = {}  # samples in a step -> how many steps
        self._passes: float | None = 0.0  # over loaders; None once one did not tell its length
        self._batches, self._length = 0, 0  # of the pass that is under way
        self._pass: object = None  # the one over a loader that is under way
        self._outer = "other"  # the phase around it
        self._at_begin: Callable[[], None] | None = at_begin
        self._where: str | None = None  # what is entered: steps, step or a phase that pauses them
        self._left: int | None = None  # samples of a step whose batches were all given
        self._in_step = ExitStack()
        self._is_behind = False  # the device may still work on a step

    @property
    def step_size(self) -> int | None:
        """Samples of a full step: most steps have so many, and none has more."""
        if not self._sizes or self.num_samples is None:
            return None
        most = max(self._sizes)
        return most if self._sizes[most] == max(self._sizes.values()) else None

    @property
    def num_made(self) -> int:
        """Steps made so far, with one whose batches were all given."""
        return self.log.step + (self._left is not None)

    def check(self, name: str) -> None:
        """Raise `InputError` where something is entered that cannot hold `name`."""
        if self._where is not None:
            raise InputError(f"{name}: is inside {self._where}; end that first")

    @property
    def num_epochs(self) -> float | None:
        """Passes over loaders that tell how many batches they have; else ``None``."""
        if self._passes is None:
            return None
        return self._passes + (min(self._batches / self._length, 1.0) if self._length else 0.0)

    def batches(
        self, loader: Iterable[Any], batches_per_step: int, count: Callable[[Any], int]
    ) -> Iterator[Any]:
        """The batches of `loader`, `batches_per_step` to a step, each counted by `count`."""
        self.end_pass()
        self.check("steps()")
        switch = self.log.ledger.switch
        this = self._pass = object()
        self._outer = self._begin("steps()", DATA_WAIT)
        try:
            self._length = len(loader)  # type: ignore[arg-type]
        except TypeError:
            self._length, self._passes = 0, None
        samples = num_batches = 0
        try:
            for batch in loader:
                samples += count(batch)
                num_batches += 1
                if self._batches == self.num_counted == 0 and count is counted:
                    self.odd_sizes = differing_sizes(batch)
                self._batches += 1
                switch("train", wait=False)
                if num_batches == 1 and self.around_steps:
                    self.begin_step()
                if num_batches == batches_per_step:
                    self._left = samples
                yield batch
                if self._pass is not this:
                    raise InputError("steps(): another one began inside it; end that first")
                switch(DATA_WAIT, wait=False)
                if num_batches == batches_per_step:
                    self.settle()
                    samples = num_batches = 0
            if num_batches:
                self._count(samples)
            self._batches = self._length
        finally:
            if self._pass is this:
                self.end_pass()

    def end_pass(self) -> None:
        """End the pass over a loader that is under way, if one is."""
        if self._pass is None or self._where != "steps()":
            return
        self._in_step.close()
        if self._left is not None:
            self.log.timer.pause()
        self._passes = self.num_epochs
        self._batches = self._length = 0
        self._pass = None
        self._leave(self._outer)

    @contextmanager
    def one(self, num_samples: int | None, number: int | None) -> Iterator[None]:
        """One step, made inside."""
        self.check("step()")
        if number is not None and number <= self.log.step:
            raise InputError(
                f"number: step {number} comes after step {self.log.step}; steps go forward only"
            )
        outer, self._passes = self._begin("step()", "train"), None
        try:
            self.begin_step()
            yield
            self._is_behind = True
            self._count(num_samples, number=number)
        finally:
            self._in_step.close()
            self._where = None
            self.log.ledger.switch(outer, wait=False)

    @contextmanager
    def followed(self) -> Iterator[None]:
        """The loop of a trainer, whose callback switches the clocks and tells of its steps."""
        self.check("a trainer's loop")
        outer = self._begin("steps()", DATA_WAIT)
        try:
            yield
        finally:
            self._in_step.close()
            self._leave(outer)

    def begin_step(self) -> None:
        """Enter what surrounds a step."""
        if self.around_steps:
            self._in_step.enter_context(self.around_steps())

    def end_step(self, samples: int, epoch: float | None) -> None:
        """End it, after so many epochs, where that is known."""
        self._passes = epoch
        self._count(samples)

    @contextmanager
    def paused(self, phase: str, *, is_pause: bool = True) -> Iterator[None]:
        """Charge what is inside to `phase`; the device is waited for before and after.

        One that others may have to wait for is a pause.
        """
        self.settle()
        ledger, timer, where = self.log.ledger, self.log.timer, self._where
        in_step = where in {"steps()", "step()"}
        self.num_pauses += is_pause and bool(self.num_counted) and (in_step or where is None)
        if in_step:
            timer.pause()
        elif self._is_behind:
            ledger.switch("train", wait=False)  # what is waited for are steps
        self._is_behind = False
        self._where = "evaluating()" if phase == "eval" else f"paused({phase!r})"
        outer = ledger.switch(phase)
        try:
            yield
        finally:
            ledger.switch(outer)
            self._where = where
            if in_step:
                timer.resume()

    def settle(self) -> None:
        """Count the step whose batches were all given, if one is: the loop has gone on from it.

        That is where the next batch is asked for, something is evaluated, or a loop was left by
        ``break``. One that is left by an exception is never counted.
        """
        if self._left is not None:
            if self._where is None:
                self.log.timer.resume()
            self._count(self._left)

    def end(self, *, is_left_by_error: bool) -> None:
        """Count the last step, unless an error was raised in it."""
        if is_left_by_error:
            self._left = None
        self.settle()

    def _begin(self, where: str, phase: str) -> str:
        self.settle()
        if self._at_begin:
            at_begin, self._at_begin = self._at_begin, None
            with self.log.ledger.phase("startup"):
                at_begin()
        self._where = where
        self.log.timer.start()
        return self.log.ledger.switch(phase, wait=False)

    def _count(self, samples: int | None, *, number: int | None = None) -> None:
        log, self._left = self.log, None
        if self.around_steps:
            self._in_step.close()
        if self.telemeter:
            self.telemeter.sample()
        if self.num_counted:
            log.timer.mark()
            if not self.num_counted % _MOST_EVENTS:
                log.timer.start()
        else:
            self._end_first(samples or 0)
        self.num_counted += 1
        log.step = number or log.step + 1
        if samples is None or self.num_samples is None:
            self.num_samples = None
        else:
            self.num_samples += samples
            self._sizes[samples] = self._sizes.get(samples, 0) + 1

    def _end_first(self, samples: int) -> None:
        """The first step is a window by itself, after which it is known what device is used."""
        self.device = device = used_device()
        self.log.ledger.synchronize = wait = waits_for(device)
        if wait:
            wait()
        self.log.timer.mark()
        (self.first_step_s,), self.first_samples = self.log.timer.durations_s(), samples
        self.first_wait_s = self.log.ledger.spent_s(DATA_WAIT)
        self.log.timer = step_timer(device)
        self.log.timer.start()

    def _leave(self, outer: str) -> None:
        self._where = None
        self.log.ledger.switch("train", wait=False)  # what is waited for are steps
        self.log.ledger.switch(outer)


class LoaderSteps(Iterator[Any]):
    """The batches of a loader while they are counted; as long as the loader."""

    def __init__(self, loader: Any, batches: Iterator[Any]) -> None:
        self._loader, self._batches = loader, batches

    def __iter__(self) -> Iterator[Any]:
        return self._batches  # a loop then takes its batches without a call in between

    def __next__(self) -> Any:
        return next(self._batches)

    def __len__(self) -> int:
        return len(self._loader)
