"""Runs that import nothing again: forks of a process that has imported what they need."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import psutil

from mnistbench.launch.children import Child, end_all, raised_stops
from mnistbench.recorder.parent_death_signal import PARENT
from mnistbench.schema.streams import say

_ANY = ("MNISTBENCH_", "PYTEST_CURRENT_TEST")
"""How variables begin that no library reads when it is imported."""

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_PATIENCE_S = 10.0


class Preloaded:
    """Starts runs of ``mnistbench.train`` by a process that has imported what they need.

    There is one for each interpreter and set of variables, and so for each code. One that has
    ended, or whose files have changed, is replaced. Where none can be had, which one line says,
    each run imports all it needs.
    """

    def __init__(self) -> None:
        self._servers: dict[str, _Server] = {}
        self._unfit: set[str] = set()

    def start(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        work_dir: Path | None = None,
        python: str = sys.executable,
    ) -> Child:
        """Start a run with `arguments`; who starts it ends it by `end_all`.

        Raises:
            InputError: the interpreter cannot be started.
            KeyboardInterrupt: a signal came while its imports were waited for.
        """
        command = [python, "-m", "mnistbench.train", *arguments]
        return Child(command, environment=environment, work_dir=work_dir, start=self._started)

    def close(self) -> None:
        """End the processes that have imported, and what runs by them."""
        for server in self._servers.values():
            server.end()
        end_all([server.child for server in self._servers.values()])
        self._servers.clear()

    def _started(
        self, command: Sequence[str], *, env: dict[str, str], stderr: IO[bytes], **usual: Any
    ) -> subprocess.Popen[Any] | psutil.Process:
        """As `subprocess.Popen`, by a fork where that can be."""
        folder = usual["cwd"] and str(usual["cwd"])
        request = {"arguments": command[3:], "environment": env, "work_dir": folder}
        for _ in range(2):
            server = self._server(command[0], env)
            if server and (pid := server.fork(request, stderr)):
                return psutil.Process(pid)
        return subprocess.Popen(command, env=env, stderr=stderr, **usual)  # noqa: S603 - our own

    def _server(self, python: str, environment: Mapping[str, str]) -> _Server | None:
        """One that is ready, if any can be had."""
        variables = {k: v for k, v in environment.items() if not k.startswith(_ANY)}
        key = json.dumps([python, variables], sort_keys=True)
        server = self._servers.get(key)
        if (server and server.child.status is None) or key in self._unfit:
            return server
        if server:
            server.end()
        server = self._servers[key] = _Server(python, variables)
        with raised_stops():
            if server.control.recv(1):
                server.control.settimeout(_PATIENCE_S)
                return server
        server.end()
        del self._servers[key]
        self._unfit.add(key)
        why = (server.child.said.strip().splitlines() or ["it ended"])[-1]
        root = environment.get("PYTHONPATH", "").split(os.pathsep)[0]
        say(f"{root}: each run imports all it needs, as no process can do so for all: {why}")
        return None


class _Server:
    """The process that forks (`mnistbench.engine.preloaded`), as seen from here."""

    def __init__(self, python: str, variables: Mapping[str, str]) -> None:
        self.control, theirs = socket.socketpair()
        with theirs:
            file = theirs.fileno()
            module = "mnistbench.engine.preloaded"
            self.child = Child(
                [python, "-m", module, str(file), "mnistbench.train"],
                environment={**variables, PARENT: str(os.getpid())},
                start=partial(subprocess.Popen, pass_fds=[file]),
            )

    def fork(self, request: Mapping[str, Any], log: IO[bytes]) -> int:
        """The number of a new child of this process; 0, and its end, where it cannot have one."""
        prctl, pid = ctypes.CDLL(None).prctl, 0
        with TemporaryFile("w+") as told, suppress(OSError):
            json.dump({**request, "parent": os.getpid()}, told)
            told.seek(0)
            prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # who loses its parent comes to us
            socket.send_fds(self.control, [b"+"], [log.fileno(), told.fileno()])
            pid = int.from_bytes(self.control.recv(4), "little")
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        if not pid:
            self.end()
        return pid

    def end(self) -> None:
        """End it; what runs by it goes on."""
        self.control.close()
        self.child.kill()
