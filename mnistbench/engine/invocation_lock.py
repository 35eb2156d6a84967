"""One command goes on with an invocation: two at once would train its seeds twice."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from mnistbench.schema.checkpoint import CHECKPOINTS
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.training_fields import BOOKKEEPING

__all__ = ["invocation_lock"]

_PATIENCE_S = 15.0
"""A life of the command that was told to end has gone by then."""


@contextmanager
def invocation_lock(config: RunConfig) -> Iterator[None]:
    """Keep others from going on with the runs of `config` in their folder.

    A command that goes on needs them to itself; those that begin anew stand side by side. The lock
    is on a file in the folder, and ends with the process.

    Raises:
        InputError: `config` goes on, and another command has them and does not end in time.
    """
    if sys.platform == "win32" or not (config.resume or config.checkpoint_every_steps):
        yield
        return
    import fcntl

    folder = _folder(config)
    kind = fcntl.LOCK_EX if config.resume else fcntl.LOCK_SH
    deadline = monotonic() + min(config.process_timeout_s / 2, _PATIENCE_S)
    try:
        descriptor = _open(config, folder)
    except OSError:  # told by who looks for runs there, or writes them
        yield
        return
    try:
        while not _taken(descriptor, kind) and config.resume:
            if monotonic() > deadline:
                raise InputError(
                    f"resume: another command trains this configuration in {folder}; wait for its "
                    "end, or leave --resume out"
                )
            sleep(0.1)
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # forked workers may hold it still
        os.close(descriptor)


def _folder(config: RunConfig) -> Path:
    if config.resume in {None, "latest"}:
        return Path(config.output_dir).expanduser()
    run = Path(str(config.resume)).expanduser()
    return (run.parents[1] if run.parent.name == CHECKPOINTS else run).parent


def _open(config: RunConfig, folder: Path) -> int:
    decides = config.model_dump_json(exclude=set(BOOKKEEPING)).encode()
    digest = hashlib.sha256(decides, usedforsecurity=False).hexdigest()[:12]
    if config.resume in {None, "latest"}:
        folder.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    return os.open(folder / f".lock-{digest}", flags, 0o666)


def _taken(descriptor: int, kind: int) -> bool:
    import fcntl

    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        return not isinstance(error, BlockingIOError)  # else a disk without locks
    return True
