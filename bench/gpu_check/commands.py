"""Real processes of `python -m mnistbench.train`: started, watched, struck, and what they said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from mnistbench.launch.commands import cpu_environment, torchrun_command
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import RECORD_NAME, load_record

_LOOK_EVERY_S = 0.05
_SAYS_THAT_IT_TRAINS = "mnistbench: training"


class Ended(NamedTuple):
    """How a command ended; `status` is ``None`` where it had to be killed."""

    status: int | None
    errors: list[str]
    said: str
    elapsed_s: float

    def text(self) -> str:
        """One line: the status and what it said of its own, else its last words."""
        last = self.said.strip().splitlines()[-1:]
        how = "killed: it did not end" if self.status is None else f"status {self.status}"
        return "; ".join([f"{how} after {self.elapsed_s:.0f} s", *(self.errors or last)])


class Started:
    """A command under way; what it says goes to a file."""

    def __init__(
        self, command: Sequence[str], *, folder: Path, device_type: str, in_session: bool = False
    ) -> None:
        """`folder` is made; its parent gets what the command says.

        With `in_session` it is a group of its own.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._said_in = folder.with_name(f"{folder.name}-{time.monotonic_ns()}.log")
        self._began = time.monotonic()
        with self._said_in.open("w") as file:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                env=environment(device_type),
                stdout=file,
                stderr=file,
                start_new_session=in_session,
            )

    def elapsed_s(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self._began

    def processes(self) -> list[psutil.Process]:
        """The command's own and all that it has started."""
        with suppress(psutil.NoSuchProcess):
            launcher = psutil.Process(self.process.pid)
            return [launcher, *launcher.children(recursive=True)]
        return []

    def said(self) -> str:
        return self._said_in.read_text(encoding="utf-8", errors="replace")

    def wait_until_it_trains(self, *, timeout_s: float = 90) -> bool:
        """Whether it said so, and is still there."""
        until = time.monotonic() + timeout_s
        while self.process.poll() is None and time.monotonic() < until:
            if _SAYS_THAT_IT_TRAINS in self.said():
                return True
            time.sleep(_LOOK_EVERY_S)
        return False

    def strike(self, number: signal.Signals, *, rank: int | None = None) -> None:
        """Send a signal: to the command itself, or to process `rank` of the run."""
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if rank is None:
                self.process.send_signal(number)
                return
            for worker in self.processes()[1:]:
                if _rank(worker) == rank:
                    worker.send_signal(number)

    def end(self, *, timeout_s: float) -> Ended:
        """Wait for the end of it, and kill it and its children when it does not come."""
        status: int | None
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            status = None
            self.kill()
        said = self.said()
        errors = [line for line in said.splitlines() if line.startswith("mnistbench: error")]
        return Ended(status, errors, said, self.elapsed_s())

    def kill(self) -> None:
        for process in reversed(self.processes()):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


def _rank(process: psutil.Process) -> int | None:
    with suppress(psutil.Error):
        value = process.environ().get("RANK", "")
        return int(value) if value.isdigit() else None
    return None


def environment(device_type: str) -> Mapping[str, str]:
    """This environment, with the CPU asked for or not."""
    plain = {name: value for name, value in os.environ.items() if name != "ACCELERATE_USE_CPU"}
    return cpu_environment() if device_type == "cpu" else plain


def train_command(flags: Sequence[str], folder: Path) -> list[str]:
    return [sys.executable, "-m", "mnistbench.train", *flags, "--output-dir", str(folder)]


def torchrun(flags: Sequence[str], folder: Path, *, num_processes: int) -> list[str]:
    told = [*flags, "--output-dir", str(folder)]
    return torchrun_command("mnistbench.train", told, num_processes=num_processes)


def records_in(folder: Path) -> list[RunRecord]:
    """All records below `folder`, none where it is not there."""
    return [load_record(path) for path in sorted(folder.rglob(RECORD_NAME))]
