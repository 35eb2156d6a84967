"""Saving a run's checkpoints: the last two are kept, and a failure leaves them as they are."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from accelerate import Accelerator

from mnistbench.engine.distributed import decide_together
from mnistbench.engine.locks import LOCK_S, lock, unlock
from mnistbench.schema.checkpoint import (
    CHECKPOINTS,
    SavedRun,
    checkpoint_name,
    checkpoints_of,
    number_of,
)
from mnistbench.schema.errors import InputError, RunError
from mnistbench.schema.files import no_link, why
from mnistbench.schema.sealed_folder import is_aside, seal

_log = logging.getLogger(__name__)
_KEPT = 2


class CheckpointWriter:
    """Writes the checkpoints of one run, on the main process.

    They lie in ``checkpoints/`` of the run's folder.
    """

    def __init__(self, run_folder: Path, accelerator: Accelerator, *, go_on: bool) -> None:
        """`go_on` says that training goes on where a checkpoint cannot be saved."""
        self._run_folder, self._accelerator, self._go_on = run_folder, accelerator, go_on
        self._foreign: set[Path] = set()
        self._number: int | None = None
        self._lock: int | None = None

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the run's folder to others."""
        if self._lock is not None:
            unlock(self._lock)
            self._lock = None

    def lock(self, saved: SavedRun, *, patience_s: float) -> None:
        """Lock the folder of the run being resumed at `saved`, which is kept until two are newer.

        Raises:
            InputError: another one goes on with it, or did after `saved` was chosen.
        """
        folder = self._run_folder
        try:
            if not self._locked(min(patience_s, LOCK_S)):
                raise InputError(f"resume: {folder} is under way in another process; end it")
            newest = [path.name for path in checkpoints_of(folder)][-1:]
        except OSError as error:
            raise InputError(f"resume: {folder}: {error.strerror}") from None
        if newest and newest != [saved.newest]:
            raise InputError(f"resume: {folder} went on meanwhile; give the same command again")
        # what is newer was not to be trusted, or not to be gone on from: it does not count
        self._foreign = {p for p in checkpoints_of(folder) if number_of(p) > number_of(saved.path)}

    def _locked(self, patience_s: float = 0.0) -> bool:
        descriptor = os.open(self._run_folder, os.O_RDONLY)
        if lock(descriptor, patience_s=patience_s):
            self._lock = descriptor
            return True
        os.close(descriptor)
        return False

    def save(self, step: int, files: Mapping[str, bytes], *, go_on: bool = False) -> bool:
        """Save `files` as the checkpoint of `step`, if that can be; every process must call this.

        Raises:
            RunError: it cannot, and training is not to go on (`go_on` is for this once). Its text
                is empty but on the main process.
        """
        try:
            decide_together(self._accelerator, lambda: self._write(step, files))
        except InputError as error:
            failed = str(error)  # not the error, whose frames would hold workers
        else:
            return True
        main = self._accelerator.is_main_process
        kept = self._kept()
        left = f"the last good one is {kept[-1]}" if kept else "there is none yet"
        said = f"checkpoint of step {step} not saved: {failed}; {left}"
        if not (go_on or self._go_on):
            mend = "make room or choose another --output-dir, or --on-checkpoint-error continue"
            raise RunError(f"{said}; {mend}" if main else "")
        if main:
            _log.warning(said)
        return False

    def _kept(self) -> list[Path]:
        return [path for path in checkpoints_of(self._run_folder) if path not in self._foreign]

    def _write(self, step: int, files: Mapping[str, bytes]) -> None:
        try:
            folder = no_link(self._run_folder / CHECKPOINTS)
            if self._number is None:
                self._number = self._first_number(folder)
            sealed = folder / checkpoint_name(self._number, step)
            try:
                seal(sealed, files)
            except FileNotFoundError:  # the folder vanished meanwhile, and is made again
                seal(sealed, files)
            self._number += 1
            is_ours = self._lock is not None or self._locked()
        except OSError as error:
            raise InputError(f"{error.filename or self._run_folder}: {why(error)}") from None
        if not is_ours:
            raise InputError(f"{folder}: another process goes on with it")
        for path in self._kept()[:-_KEPT]:
            shutil.rmtree(path, ignore_errors=True)

    def _first_number(self, folder: Path) -> int:
        for path in folder.glob(".*"):
            if is_aside(path) and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
        return max((number_of(path) for path in checkpoints_of(self._run_folder)), default=0) + 1
