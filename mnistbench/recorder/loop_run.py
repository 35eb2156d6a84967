"""One run of a loop that is not ours in this process, from its beginning to its record."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mnistbench.recorder.clock import Ledger, process_age_s
from mnistbench.recorder.endings import Endings, heard_endings, status_of
from mnistbench.recorder.hooks import RunView
from mnistbench.recorder.loop_record import (
    loop_record,
    saved,
    tally_of,
    tell,
    together,
    writable_folder,
)
from mnistbench.recorder.loop_settings import LoopSettings
from mnistbench.recorder.loop_watch import LoopWatch
from mnistbench.recorder.machine_probe import probe_machine
from mnistbench.recorder.processes import Processes
from mnistbench.recorder.run_log import Outcome
from mnistbench.recorder.script_identity import Script, find_script
from mnistbench.recorder.step_counting import StepCounter
from mnistbench.recorder.telemetry import Telemeter
from mnistbench.recorder.used_device import used_device, waits_for
from mnistbench.schema.errors import InputError, first_line
from mnistbench.schema.record import CanaryReading, RunRecord, Status

if TYPE_CHECKING:
    import torch


class LoopRun:
    """What a process knows of its run. Whatever goes wrong here is said, and ends no training.

    Attributes:
        steps: what it counts, and its clocks.
        folder: where its files go.
        record: what was written, once it has ended; on the main process alone.
    """

    _open: LoopRun | None = None  # of this process
    _is_first = True  # of its process, whose age counts

    def __init__(self, settings: LoopSettings, watch: LoopWatch, *, quiet: bool) -> None:
        """Begin the clocks, and find out what is to be known before anything is trained.

        Raises:
            InputError: another run is open, or this is a worker of a loader.
        """
        before = LoopRun._open
        if before is not None and before.is_open:
            name = before.folder.name
            raise InputError(f"record: the run {name} has not ended in this process; end it first")
        data = sys.modules.get("torch.utils.data")
        if data is not None and data.get_worker_info() is not None:
            raise InputError(
                "record: this is a worker of a DataLoader; record the process that trains, and "
                'keep what starts it below `if __name__ == "__main__"`'
            )
        age_s = process_age_s() if LoopRun._is_first and _is_script() else 0.0
        LoopRun._is_first = False
        self.steps = StepCounter(Ledger(age_s=age_s), at_begin=self._begin)
        self.folder: Path = settings.run_folder
        self.record: RunRecord | None = None
        self._settings, self._watch = settings, watch
        self._quiet, self._pid = quiet, os.getpid()
        self._outcome, self._script = Outcome(), Script()
        self._processes = Processes()
        self._watching, self._leaving = ExitStack(), ExitStack()
        LoopRun._open = self
        self._endings: Endings = self._leaving.enter_context(
            heard_endings(self._exited, in_time=self._give_up)
        )
        with self.steps.log.ledger.phase("startup"):
            self._prepare()

    @property
    def is_open(self) -> bool:
        """Whether it has begun in this process, which may be a fork of another, and not ended."""
        return LoopRun._open is self and self._pid == os.getpid()

    def leave(self, error: BaseException | None) -> None:
        """End the run, which was left by `error`, or by none; leave its record."""
        if self.is_open:
            self.steps.end(is_left_by_error=error is not None)
            self._end(*status_of(error, self._endings.asked))

    def _prepare(self) -> None:
        self._processes.join()
        if not self._processes.is_main:
            return
        if by_repr := self._settings.by_repr:
            tell(f"config: JSON cannot hold {', '.join(by_repr)}; the repr is kept")
        try:
            self.folder = writable_folder(self.folder)
            self.steps.telemeter = Telemeter(None)
            self._script = find_script()
        except Exception as error:
            tell(f"warning: the record will not tell all ({_named(error)})")

    def _begin(self) -> None:
        """Right before the first step."""
        self._processes.join()
        device, steps = used_device(), self.steps
        if not self._processes.is_main:
            steps.telemeter = None
        if steps.telemeter:
            steps.telemeter.trains_on(device)
        view = RunView(
            config=self._settings.config,
            log=steps.log,
            run_id=self._settings.run_id,
            run_folder=self.folder,
            num_processes=self._processes.count,
            process_index=self._processes.index,
        )
        self._watching.enter_context(self._watch.watching(view))
        if self._watch.watches_steps:
            steps.around_steps = partial(self._watch.around_step, steps.log)
        self._watching.enter_context(
            steps.log.watching(
                self._outcome, telemeter=steps.telemeter, probe=partial(_probe, device)
            )
        )

    def _exited(self) -> None:
        """At the end of a process that never left the run."""
        if self.is_open:
            self._end("interrupted", "the process ended inside the run")

    def _give_up(self, error: KeyboardInterrupt) -> None:
        """From another thread, where a signal did not lead out of what the main one waits for."""
        if self.is_open:
            self._put_on_record(*status_of(error, self._endings.asked))

    def _end(self, status: Status, error: str | None) -> None:
        self._endings.defer()
        try:
            self._put_on_record(status, error)
        finally:
            LoopRun._open = None
            self._leaving.close()

    def _put_on_record(self, status: Status, error: str | None) -> None:
        self._outcome.status, self._outcome.error = status, error
        try:
            self._stop_clocks()
            self._finish()
        except Exception as problem:
            tell(f"warning: the run is not on record ({_named(problem)})")

    def _stop_clocks(self) -> None:
        ledger, ended = self.steps.log.ledger, None
        if self._outcome.status == "completed":
            ledger.switch("other")
        else:
            ledger.synchronize = None  # a device that failed may never answer again
            ended = KeyboardInterrupt()  # left by an error, nothing is probed any more
        with suppress(KeyboardInterrupt):
            try:
                self._watching.__exit__(type(ended) if ended else None, ended, None)
            except Exception as error:  # of a hook's
                if ended is None:
                    self._outcome.ended_by(error)
                tell(f"warning: {_named(error)}")

    def _finish(self) -> None:
        steps, outcome, processes = self.steps, self._outcome, self._processes
        processes.join()
        own = tally_of(steps, outcome)
        if not processes.is_main:
            processes.report(own)
            return
        is_cut = outcome.status != "completed"
        with suppress(RuntimeError):  # of a device that is not done with its steps
            self._watch.note(outcome, steps)
        told = processes.collect(own, is_over=lambda: is_cut or self._endings.asked is not None)
        record = loop_record(self._settings, self._script, steps, outcome, together(told))
        if record.status == "failed" and not is_cut:
            tell(f"warning: on record as failed: {record.error}")
        if steps.odd_sizes:
            tell(f"warning: {steps.odd_sizes}")
        self.record = saved(record, self.folder, quiet=self._quiet)


def _probe(device: torch.device | None) -> CanaryReading | None:
    """The machine's speed, by torch where the loop has it."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(device, torch.device):  # it was imported after the device
        return None
    with suppress(RuntimeError):  # as of a device whose memory is full
        return probe_machine(device, synchronize=waits_for(device))
    return None


def _is_script() -> bool:
    """Whether this process was started for what it runs: no notebook, no shell, no tests."""
    interactive = hasattr(sys, "ps1") or sys.flags.interactive or "ipykernel" in sys.modules
    return not (interactive or "_pytest" in sys.modules)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
