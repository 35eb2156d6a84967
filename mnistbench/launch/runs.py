"""One run in a process of its own, of this code or of another checkout's, and the record it left.

No child outlives its parent's interest: whatever ends the wait (an error, Ctrl-C, SIGTERM, a closed
terminal) ends the child and everything it started.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from types import FrameType

from mnistbench.schema.errors import InputError, Terminated
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import load_record

__all__ = ["RunFailedError", "check_arguments", "run_child", "run_once"]

_GRACE_S = 10.0
"""What a child has to put itself on record after SIGTERM, before SIGKILL."""

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_COMPLAINT = "mnistbench: error: "


class RunFailedError(RuntimeError):
    """A child process did not do what it was started for: one line for the user, exit status 1."""


def run_once(
    arguments: Sequence[str],
    *,
    output_dir: Path,
    python: str = sys.executable,
    package_root: Path | None = None,
) -> RunRecord:
    """Run ``python -m mnistbench.train`` once in a child process and read the record it left.

    Relative paths among `arguments` mean what they mean to the caller: the child works in the same
    folder, whatever code it runs.

    Args:
        arguments: flags of ``train`` for one run (one seed); its output folder is set here.
        output_dir: gets the run's folder, as ``output_dir/<run_id>/record.json``.
        python: interpreter to run.
        package_root: folder whose ``mnistbench`` the child must run, checked before it does, so
            that an installed package cannot stand in; none is what `python` finds by itself.

    Returns:
        The record, whatever its status: look at it.

    Raises:
        InputError: the child refused its input (its own line), or would run other code.
        RunFailedError: it left no record; its last line says why.
        KeyboardInterrupt: a signal came (`Terminated` for SIGTERM and SIGHUP); the child has ended,
            and what it had measured may be on record as ``interrupted``.
    """
    before = set(_records(output_dir))
    status, says = _train(
        [*arguments, "--output-dir", str(output_dir.absolute()), "--quiet"],
        python=python,
        package_root=package_root,
    )
    new = [path for path in _records(output_dir) if path not in before]
    if len(new) > 1:
        raise InputError(f"num_seeds: one run at a time is compared, not {len(new)}")
    if not new:
        raise RunFailedError(says or f"the run left no record (exit status {status})")
    return load_record(new[0])


def check_arguments(
    arguments: Sequence[str], *, python: str = sys.executable, package_root: Path | None = None
) -> None:
    """Check within a second, without a run, that `run_once` would accept these.

    Raises:
        InputError: as `run_once`.
        RunFailedError: the code does not even read its flags.
    """
    status, says = _train([*arguments, "--print-config"], python=python, package_root=package_root)
    if status:
        raise RunFailedError(says or f"flags could not be checked (exit status {status})")


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
    arrived: list[int] = []
    # Signals are noted while the child starts and is cleaned up, and raise in between: at no moment
    # can one lead past the clean-up.
    with TemporaryFile() as log, _on_stop(lambda number, _: arrived.append(number)):
        child = _start(command, environment=environment, stderr=log.fileno())
        try:
            with _on_stop(_raise):
                if arrived:
                    _raise(arrived[0], None)
                child.wait()
        finally:
            _end(child)
        log.seek(0)
        said = log.read().decode(errors="replace")
    if arrived:
        _raise(arrived[0], None)
    return child.returncode, said


def _train(
    arguments: Sequence[str], *, python: str, package_root: Path | None
) -> tuple[int, str | None]:
    """Exit status and last line on stderr of one call of the door."""
    command = [python]
    if package_root is not None:
        _require_code(python, package_root.absolute())
        command.append("-P")  # the current folder may hold another checkout's package
    status, said = run_child(
        [*command, "-m", "mnistbench.train", *arguments], environment=_environment(package_root)
    )
    says = _last_line(said)
    if status == 2:
        raise InputError(says or f"{python}: refused its input without a word")
    return status, says


@functools.cache
def _require_code(python: str, package_root: Path) -> None:
    code = "import mnistbench; print(mnistbench.__file__)"
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            [python, "-P", "-c", code],
            env=_environment(package_root),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise InputError(f"{python}: cannot be started ({error.strerror})") from None
    if done.returncode:
        why = _last_line(done.stderr) or f"exit status {done.returncode}"
        raise InputError(f"{package_root}: its mnistbench cannot be imported ({why})")
    found = Path(done.stdout.strip()).resolve()
    if found != (package_root / "mnistbench" / "__init__.py").resolve():
        raise InputError(
            f"{package_root}: {python} would run {found.parent} instead; use an environment "
            "whose installed mnistbench does not come first"
        )


def _environment(package_root: Path | None) -> Mapping[str, str]:
    if package_root is None:
        return os.environ
    paths = [str(package_root.absolute()), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _records(output_dir: Path) -> list[Path]:
    return sorted(output_dir.glob("*/record.json"))


def _last_line(said: str) -> str | None:
    """The door's own complaint, else whatever came last."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    complaints = [line for line in lines if line.startswith(_COMPLAINT)]
    last = (complaints or lines or [""])[-1]
    return last.removeprefix(_COMPLAINT) or None


def _start(
    command: Sequence[str], *, environment: Mapping[str, str] | None, stderr: int
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - our own command
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,  # a file: a pipe would wait for whoever else the child gave it to
            start_new_session=True,  # one group, which can be signalled as one
        )
    except OSError as error:
        raise InputError(f"{command[0]}: cannot be started ({error.strerror})") from None


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child, first politely so that it leaves its record, and all of its group."""
    with suppress(ProcessLookupError):
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                child.wait(_GRACE_S)
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


@contextmanager
def _on_stop(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Send stop signals to `handler` inside; those that are ignored (``nohup``) stay so."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers, and only it is interrupted
        return
    before = {number: signal.getsignal(number) for number in _STOPS}
    taken = {
        number: old for number, old in before.items() if old not in (None, signal.SIG_IGN)
    }  # None is a handler that was not set by Python, and could not be put back
    try:
        for number in taken:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in taken.items():
            signal.signal(number, old)


def _raise(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated
