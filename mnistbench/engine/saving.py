"""Saving a run's checkpoints: the last two are kept, and a failure leaves them as they are."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from mnistbench.schema.checkpoint import (
    CHECKPOINTS,
    checkpoint_name,
    checkpoints_of,
    number_of,
)
from mnistbench.schema.errors import RunError
from mnistbench.schema.record import CheckpointCounts
from mnistbench.schema.sealed_folder import is_aside, seal

__all__ = ["Saver"]

_log = logging.getLogger(__name__)
_KEPT = 2


class Saver:
    """Writes the checkpoints of one run, on the main process.

    Attributes:
        run_folder: the run's own, where they lie in ``checkpoints/``.
        counts: how many were saved and how many could not be, over all lives of the run.
    """

    def __init__(self, run_folder: Path, accelerator: Accelerator, *, go_on: bool) -> None:
        """`go_on` says that training goes on where a checkpoint cannot be saved."""
        self.counts = CheckpointCounts()
        self.run_folder, self._accelerator, self._go_on = run_folder, accelerator, go_on
        self._kept: list[Path] = []
        self._number: int | None = None

    def resumed(self, path: Path, counts: CheckpointCounts) -> None:
        """Go on from the checkpoint at `path`, which stays until two newer ones are there."""
        self.run_folder, self.counts = path.parent.parent, counts
        number = number_of(path)
        # what is newer could not be trusted: it neither counts nor is in the way
        self._kept = [p for p in checkpoints_of(self.run_folder) if number_of(p) <= number]

    def save(self, step: int, files: Mapping[str, bytes], *, go_on: bool = False) -> None:
        """Save `files` as the checkpoint of `step`; every process must call this.

        Raises:
            RunError: it could not be saved, and training is not to go on (`go_on` is for this
                once). Its text is empty but on the main process.
        """
        failed = self._on_main(lambda: self._write(step, files))
        saved, lost = self.counts.saved, self.counts.failed
        if failed is None:
            self.counts = CheckpointCounts(saved=saved + 1, failed=lost)
            return
        self.counts = CheckpointCounts(saved=saved, failed=lost + 1)
        main = self._accelerator.is_main_process
        said = f"checkpoint of step {step} not saved: {failed}; {self._what_there_is()}"
        if not (go_on or self._go_on):
            mend = "make room or choose another --output-dir, or --on-checkpoint-error continue"
            raise RunError(f"{said}; {mend}" if main else "")
        if main:
            _log.warning(said)

    def _what_there_is(self) -> str:
        return f"the last good one is {self._kept[-1]}" if self._kept else "there is none yet"

    def _on_main(self, write: Callable[[], None]) -> str | None:
        """Why the main process could not `write`, if so, told to all."""
        failed: list[str | None] = [None]
        if self._accelerator.is_main_process:
            try:
                write()
            except OSError as error:
                failed = [f"{error.filename or self.run_folder}: {error.strerror or error}"]
        if self._accelerator.num_processes > 1:
            broadcast_object_list(failed)
        return failed[0]

    def _write(self, step: int, files: Mapping[str, bytes]) -> None:
        folder = self.run_folder / CHECKPOINTS
        if self._number is None:
            self._number = self._first_number(folder)
        path = folder / checkpoint_name(self._number, step)
        seal(path, files)
        self._number += 1
        self._kept.append(path)
        while len(self._kept) > _KEPT:
            shutil.rmtree(self._kept.pop(0), ignore_errors=True)

    def _first_number(self, folder: Path) -> int:
        for path in folder.glob(".*"):
            if is_aside(path) and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
        return max((number_of(path) for path in checkpoints_of(self.run_folder)), default=0) + 1
