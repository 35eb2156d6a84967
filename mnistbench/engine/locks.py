"""What only one process may do at a time; a lock ends with the process that has it."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import cache_folder, lock_file
from mnistbench.schema.training_fields import BOOKKEEPING

LOCK_S = 15.0
"""A life of the run that was told to end has gone by then."""


def lock(descriptor: int, *, patience_s: float = 0.0, shared: bool = False) -> bool:
    """Whether an open file or folder is ours after `patience_s`, or where there are no locks."""
    deadline = monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                return True
            if monotonic() > deadline:
                return False
            sleep(0.1)
        else:
            return True


def unlock(descriptor: int) -> None:
    """Give up the lock, also if forked workers hold the file still, and close it."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


@contextmanager
def invocation_lock(config: RunConfig) -> Iterator[None]:
    """Keep others from going on with runs of `config` in ``output_dir``: seeds would be run twice.

    Raises:
        InputError: `config` goes on, and another command has them and does not end in time.
    """
    descriptor = _lock_file(config) if config.resume or config.checkpoint_every_steps else None
    if descriptor is None:
        yield
        return
    patience_s = min(config.process_timeout_s / 2, LOCK_S) if config.resume else 0.0
    try:
        if not lock(descriptor, patience_s=patience_s, shared=not config.resume) and config.resume:
            raise InputError(
                f"resume: another command trains this configuration in {config.output_dir}; wait "
                "for its end, or leave --resume out"
            )
        yield
    finally:
        unlock(descriptor)


def _lock_file(config: RunConfig) -> int | None:
    """Among the user's caches, as a folder of runs holds runs alone; none where there are none."""
    decides = config.model_dump_json(exclude=set(BOOKKEEPING))
    told = f"{os.path.realpath(Path(config.output_dir).expanduser())} {decides}".encode()
    digest = hashlib.sha256(told, usedforsecurity=False).hexdigest()[:16]
    with suppress(OSError, RuntimeError, InputError):
        folder = cache_folder(otherwise="") / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return lock_file(folder / digest)
    return None
