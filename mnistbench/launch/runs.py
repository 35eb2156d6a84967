"""One run in a process of its own, of this code or of another checkout's, and its record."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mnistbench.launch.children import Child, wait_for
from mnistbench.launch.commands import child_environment
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import load_record

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
"""Folder of the package that this process runs."""

_COMPLAINT = "mnistbench: error: "
_KILLED = re.compile(r"Root Cause.*traceback\s*:\s*Signal (\d+)", re.DOTALL)
_OF_A_LAUNCHER = re.compile(
    r"^(?:[EW]\d{4} .*/elastic/"
    r'|Traceback .*\n(?:  .*\n)*?  File ".*(?:bin/accelerate|accelerate/commands/launch\.py)".*\n'
    r"(?:  .*\n)*subprocess\.CalledProcessError)",
    re.MULTILINE,
)
"""Where what a launcher says itself begins, once a process of it has failed."""


class RunFailedError(RuntimeError):
    """A child process did not do what it was started for: one line for the user, exit status 1."""


@dataclass(frozen=True, kw_only=True)
class TrainSide:
    """A run of ``python -m mnistbench.train`` in a child process, for any seed.

    Relative paths among `arguments` mean what they mean to the caller: the child works in the same
    folder, whatever code it runs.

    Attributes:
        name: what messages call it where it is one of several that run in turn.
        arguments: flags of ``train``; seed and output folder are set for each run.
        python: interpreter that runs it.
        package_root: folder whose ``mnistbench`` the child must run, checked before it does, so
            that an installed package cannot stand in; none is that of this process.
        start_child: makes the child of a run, called as `Child` is.
    """

    name: str
    arguments: tuple[str, ...]
    python: str = sys.executable
    package_root: Path | None = None
    start_child: Callable[..., Child] = Child

    def check(self, seed: int) -> None:
        """Check within a second, without a run, that `run` would accept the flags.

        Raises:
            InputError: as `run`.
            RunFailedError: the code does not even read its flags.
        """
        status, says = self._train(seed, "--print-config")
        if status:
            raise RunFailedError(says or f"flags could not be checked (exit status {status})")

    def run(self, seed: int, folder: Path) -> RunRecord:
        """Run it and read the record that it left, as ``folder/<run_id>/record.json``.

        Returns:
            The record, whatever its status: look at it.

        Raises:
            InputError: the child refused its input (its own line), or would run other code.
            RunFailedError: it left no record; its last line says why.
            KeyboardInterrupt: a signal came (`Terminated` for SIGTERM and SIGHUP); the child has
                ended, and what it had measured may be on record as ``interrupted``.
        """
        before = {*folder.glob("*/record.json")}
        status, says = self._train(seed, "--output-dir", str(folder.absolute()), "--quiet")
        new = sorted({*folder.glob("*/record.json")} - before)
        if len(new) > 1:
            raise InputError(f"num_seeds: one run at a time is compared, not {len(new)}")
        if not new:
            raise RunFailedError(says or f"the run left no record (exit status {status})")
        return load_record(new[0])

    def _train(self, seed: int, *more: str) -> tuple[int, str | None]:
        """Exit status and last line on stderr of one call of the command."""
        require_code(self.python, self.package_root)
        flags = [*self.arguments, "--seed", str(seed), "--num-seeds", "1", *more]  # the last wins
        command = [self.python, "-m", "mnistbench.train", *flags]
        environment = child_environment(self.package_root)
        child = wait_for(lambda: self.start_child(command, environment=environment))
        status, says = child.status or 0, last_words(child.said)
        if status == 2:
            raise InputError(says or f"{self.python}: refused its input without a word")
        return status, says


def last_words(said: str) -> str | None:
    """Why a run ended, from what it `said` on stderr: its complaint, else its last line, if any."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    complaints = [line for line in lines if line.startswith(_COMPLAINT)]
    last = (complaints or lines or [""])[-1]
    return last.removeprefix(_COMPLAINT) or None


def why_ended(child: Child, *, what: str = "run") -> str:
    """Why `child`, a `what` or a launcher of one, ended as it did, in one line."""
    if killed := _KILLED.search(child.said):
        return f"a process of the {what} was ended by signal {killed[1]}"
    if child.status is not None and child.status < 0:
        return f"the {what} was ended by signal {-child.status}"
    said = last_words(_OF_A_LAUNCHER.split(child.said)[0])
    return said or f"the {what} left no record (exit status {child.status})"


@functools.cache
def require_code(python: str = sys.executable, package_root: Path | None = None) -> None:
    """Check that children of `child_environment` run the package that they are to run.

    Raises:
        InputError: `python` would find another one, or none.
    """
    code = "import mnistbench; print(mnistbench.__file__)"
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            [python, "-c", code],
            env=child_environment(package_root),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise InputError(f"{python}: cannot be started ({error.strerror})") from None
    root = package_root or PACKAGE_ROOT
    if done.returncode:
        why = last_words(done.stderr) or f"exit status {done.returncode}"
        raise InputError(f"{root}: its mnistbench cannot be imported ({why})")
    found = Path(done.stdout.strip()).resolve()
    if found != (root / "mnistbench" / "__init__.py").resolve():
        raise InputError(
            f"{root}: {python} would run {found.parent} instead; use an environment "
            "whose installed mnistbench does not come first"
        )
