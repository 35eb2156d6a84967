"""Runs that import nothing again: forks of a process that has imported what they need."""

from __future__ import annotations

import ctypes
import json
import os
import select
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import psutil

from mnistbench.launch.children import Child, end_all, raised_stops
from mnistbench.launch.commands import uses_gpu
from mnistbench.recorder.parent_death_signal import FIRST_RUN, PARENT
from mnistbench.schema.streams import say

_COMMAND = "mnistbench.train"
_DATA_DIR = "MNISTBENCH_DATA_DIR"
_ANY = ("MNISTBENCH_", "PYTEST_CURRENT_TEST")
"""How variables begin that no library reads when it is imported."""

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_PATIENCE_S = 10.0


class Preloaded:
    """Starts runs of ``mnistbench.train`` by a process that has imported what they need.

    It has read the data of the first as well; a run reads its own where they are others. There is
    one for each interpreter and set of variables, and so for each code. One that has ended, or
    whose files have changed, is replaced. Where none can be had, which one line says, each run
    imports all it needs.

    Runs are forks of it. Where there is a GPU, which a fork could not go on using, it runs all
    itself, one after the other, and ends after one that may have changed it.
    """

    def __init__(self, *, in_process: bool | None = None) -> None:
        """`in_process` says whether no run is a fork. Default: where there is a GPU."""
        self._in_process = in_process
        self._servers: list[_Server] = []

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        work_dir: Path | None = None,
    ) -> Child:
        """Start `command` as `Child` does; one that is no ``python -m mnistbench.train`` anew.

        Raises:
            InputError: the interpreter cannot be started.
            KeyboardInterrupt: a signal came while its imports were waited for.
        """
        start = self._started if [*command[1:3]] == ["-m", _COMMAND] else subprocess.Popen
        return Child(command, environment=environment, work_dir=work_dir, start=start)

    def close(self) -> None:
        """End the processes that have imported, and what runs by them."""
        for server in self._servers:
            server.end()
        end_all([server.child for server in self._servers])
        self._servers.clear()

    def _started(
        self, command: Sequence[str], *, env: dict[str, str], stderr: IO[bytes], **usual: Any
    ) -> Any:
        """As `subprocess.Popen`, without an import where that can be."""
        request = {
            "arguments": command[3:],
            "environment": env | {PARENT: str(os.getpid())},
            "work_dir": str(usual["cwd"] or Path.cwd()),
        }
        for _ in range(2):
            if run := self._server(command[0], request).start(request, stderr):
                return run
        return subprocess.Popen(command, env=env, stderr=stderr, **usual)  # noqa: S603 - our own

    def _server(self, python: str, request: Mapping[str, Any]) -> _Server:
        """One that is ready for `request`, or that never will be."""
        environment: dict[str, str] = request["environment"]
        key = python, {k: v for k, v in environment.items() if not k.startswith(_ANY)}
        for server in [*self._servers]:
            if server.is_busy:
                continue
            if server.child.status is not None and not server.is_unfit:
                server.end()
                self._servers.remove(server)
            elif server.key == key:
                return server
        here = uses_gpu(environment) if self._in_process is None else self._in_process
        told = {name: environment[name] for name in (PARENT, _DATA_DIR) if name in environment}
        told[FIRST_RUN] = json.dumps([request["work_dir"], *request["arguments"]])
        self._servers.append(server := _Server(*key, told=told, here=here))
        with raised_stops():
            server.is_unfit = not server.control.recv(1)
        server.control.settimeout(_PATIENCE_S)
        if server.is_unfit:
            server.end()
            why = (server.child.said.strip().splitlines() or ["it ended"])[-1]
            root = environment.get("PYTHONPATH", "").split(os.pathsep)[0]
            say(f"{root}: each run imports all it needs, as no process can do so for all: {why}")
        return server


class _Server:
    """The process that has imported (`mnistbench.engine.preloaded`), as seen from this one.

    Attributes:
        key: its interpreter and variables.
        is_unfit: it has ended before it could start a run.
    """

    def __init__(
        self, python: str, variables: Mapping[str, str], *, told: Mapping[str, str], here: bool
    ) -> None:
        self.key, self.is_unfit = (python, variables), False
        self._here = here
        self._run_here: _RunHere | None = None
        self.control, theirs = socket.socketpair()
        with theirs:
            file = theirs.fileno()
            module = "mnistbench.engine.preloaded"
            self.child = Child(
                [python, "-m", module, str(file), _COMMAND, *["here"] * here],
                environment={**variables, **told},
                start=partial(subprocess.Popen, pass_fds=[file]),
            )

    @property
    def is_busy(self) -> bool:
        """Whether it is in a run, and so takes no other."""
        return self._run_here is not None and self._run_here.is_under_way

    def start(self, request: Mapping[str, Any], log: IO[bytes]) -> psutil.Process | _RunHere | None:
        """The process of a run; none, and its end, where it can start none."""
        prctl, pid = ctypes.CDLL(None).prctl, 0
        with TemporaryFile("w+") as told, suppress(OSError):
            json.dump(request, told)
            told.seek(0)
            prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # who loses its parent comes to us
            socket.send_fds(self.control, [b"+"], [log.fileno(), told.fileno()])
            pid = int.from_bytes(self.control.recv(4), "little")
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        if not pid:
            self.end()
            return None
        self._run_here = _RunHere(self, pid) if self._here else None
        return self._run_here or psutil.Process(pid)

    def end(self) -> None:
        """End it; what was forked goes on."""
        self.control.close()
        self.child.kill()


class _RunHere:
    """A run in the process of `server` itself, as `Child` sees a process."""

    def __init__(self, server: _Server, pid: int) -> None:
        self._server, self._pid = server, pid
        self._status: int | None = None

    @property
    def pid(self) -> int:
        """The process; raises `ProcessLookupError` once the run has ended, as that may go on."""
        if not self.is_under_way:
            raise ProcessLookupError
        return self._pid

    @property
    def is_under_way(self) -> bool:
        """Whether it has not ended."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self._status is None

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit status; raises `subprocess.TimeoutExpired` as `subprocess.Popen` does."""
        if self._status is None:
            if not select.select([self._server.control], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(_COMMAND, timeout or 0.0)
            if told := self._server.control.recv(4):
                self._status = int.from_bytes(told, "little", signed=True)
            elif self._server.child.wait():  # the process has ended under it
                self._status = self._server.child.status
        return self._status
