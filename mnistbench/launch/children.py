"""Child processes, none of which outlives its parent's interest.

Whatever ends the wait for one (an error, Ctrl-C, SIGTERM, a closed terminal) ends it and everything
it started.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryFile
from time import monotonic
from typing import Any

import psutil

from mnistbench.schema.errors import InputError
from mnistbench.schema.signals import Handler, kept_reactions, raise_stop

_GRACE_S = 10.0
"""What children have to put themselves on record after SIGTERM, before SIGKILL."""

_STARTED_BY = "MNISTBENCH_STARTED_BY"
"""The variable by which all that a child starts is known: a mark of each child above it."""

_MOST_PASSES = 3


class Child:
    """A command that runs in a session of its own, without input or output.

    Who starts one ends it by `end_all`, also where it has ended by itself: what it started may not
    have.

    Attributes:
        said: what it said on stderr, once it was ended.
        mark: what its variables, and those of all that it starts, hold beside marks from above.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        work_dir: Path | None = None,
        start: Callable[..., subprocess.Popen[Any] | psutil.Process] = subprocess.Popen,
    ) -> None:
        """Start `command`, in this process's environment and working directory or in others.

        `start` is called as `subprocess.Popen` is.

        Raises:
            InputError: the program cannot be started.
        """
        self.said = ""
        self.mark = token_hex(8)
        variables = dict(os.environ if environment is None else environment)
        variables[_STARTED_BY] = f"{variables.get(_STARTED_BY, '')} {self.mark}".strip()
        self._log = TemporaryFile()  # noqa: SIM115 - closed by `kill`
        try:
            self._process = start(
                command,
                env=variables,
                cwd=work_dir,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._log,  # a file: a pipe would wait for whoever else was given it
                start_new_session=True,  # one group, which can be signalled as one
            )
        except OSError as error:
            self._log.close()
            raise InputError(f"{command[0]}: cannot be started ({error.strerror})") from None

    @property
    def status(self) -> int | None:
        """Exit status, minus the signal's number if one killed it; none while it runs."""
        with suppress(subprocess.TimeoutExpired, psutil.TimeoutExpired):
            return self._process.wait(0)
        return None

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether it ended within `timeout_s`; without one, wait for its end."""
        with suppress(subprocess.TimeoutExpired, psutil.TimeoutExpired):
            self._process.wait(timeout_s)
        return self.status is not None

    def signal(self, number: int) -> None:
        """Send a signal to it and to all of its group that still run."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End it and all of its group at once, and note what it said."""
        self.signal(signal.SIGKILL)
        self._process.wait()
        if not self._log.closed:
            with self._log as log:
                log.seek(0)
                self.said = log.read().decode(errors="replace")


def run_child(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run `command` to its end, without input or output, and leave nothing of it behind.

    Args:
        command: program and arguments.
        environment: the child's, in place of this process's own.

    Returns:
        Its exit status (minus the signal's number if one killed it) and what it said on stderr.

    Raises:
        InputError: the program cannot be started.
        KeyboardInterrupt: a signal came, `Terminated` for SIGTERM and SIGHUP.
    """
    child = wait_for(lambda: Child(command, environment=environment))
    return child.status or 0, child.said


def wait_for(start: Callable[[], Child]) -> Child:
    """The child that `start` makes, after its end.

    Raises:
        KeyboardInterrupt: a signal came (`Terminated` for SIGTERM and SIGHUP); it was ended.
    """
    # Signals are held while the child starts and is cleaned up, and raise in between: at no moment
    # can one lead past the clean-up.
    with held_stops() as arrived:
        child = start()
        try:
            with raised_stops():
                if arrived:
                    raise_stop(arrived[0])
                child.wait()
        finally:
            end_all([child])
    return child


def end_all(children: Sequence[Child]) -> None:
    """End `children`, first politely so that they leave their records, and all of their groups."""
    for child in children:
        if child.status is None:
            child.signal(signal.SIGTERM)
    patience = monotonic() + _GRACE_S
    for child in children:
        child.wait(max(0.0, patience - monotonic()))
        child.kill()
    marks = {child.mark for child in children}
    for _ in range(_MOST_PASSES):  # one may start another before it is reached
        left = [
            process for process in psutil.process_iter() if not marks.isdisjoint(_above(process))
        ]
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        if not left:
            break


def _above(process: psutil.Process) -> list[str]:
    """The marks of the children that `process` was started by, as far as it can be seen."""
    with suppress(psutil.Error, OSError):
        return process.environ().get(_STARTED_BY, "").split()
    return []


@contextmanager
def held_stops() -> Iterator[list[int]]:
    """Hold stop signals back inside, give those that have arrived, and raise the first at the end.

    Raises:
        KeyboardInterrupt: one came, `Terminated` for SIGTERM and SIGHUP.
    """
    arrived: list[int] = []
    with _on_stop(lambda number, _: arrived.append(number)):
        yield arrived
    if arrived:
        raise_stop(arrived[0])


@contextmanager
def raised_stops() -> Iterator[None]:
    """Let stop signals raise inside: KeyboardInterrupt, `Terminated` for SIGTERM and SIGHUP."""
    with _on_stop(raise_stop):
        yield


@contextmanager
def _on_stop(handler: Handler) -> Iterator[None]:
    """Send stop signals to `handler` inside; those that are ignored (``nohup``) stay so."""
    with kept_reactions() as before:
        for number, reaction in before.items():
            if reaction != signal.SIG_IGN:
                signal.signal(number, handler)
        yield
