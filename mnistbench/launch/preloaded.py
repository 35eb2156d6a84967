"""Runs that import nothing again: forks of a process that has imported what they need."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryFile
from typing import IO

from mnistbench.launch.children import (
    GRACE_S,
    Child,
    Started,
    end_all,
    marked,
    raised_stops,
    text_of,
)
from mnistbench.launch.commands import uses_gpu
from mnistbench.recorder.parent_death_signal import PARENT
from mnistbench.schema.streams import say

_OURS = "MNISTBENCH_"
"""How variables begin that only this package reads, and that each run is told anew."""


class Preloaded:
    """Starts runs of ``mnistbench.train`` by a process that has imported what they need.

    That process starts with the first run, is replaced where it has ended, where code that it has
    imported has changed or where a run is to have other variables, and ends with this one. Where
    none can be had, which one line says, each run starts a process as it would without this.

    Runs are forks of it. Where there is a GPU, whose context no fork can share, it runs all itself,
    one after the other, and is replaced after one that failed or left something behind.
    """

    def __init__(
        self, *, python: str = sys.executable, side: str = "", in_process: bool | None = None
    ) -> None:
        """`python` is the interpreter of all; `side` is whose runs they are, for messages.

        `in_process` says whether it runs all itself. Default: where there is a GPU.
        """
        self._in_process = in_process
        self._python, self._of = python, f" of {side}" * bool(side)
        self._servers: list[_Server] = []
        self._is_usable = sys.platform == "linux"

    def start(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        work_dir: Path | None = None,
    ) -> Started:
        """Start a run with `arguments`; who starts it ends it by `end_all`.

        Raises:
            InputError: the interpreter cannot be started.
            KeyboardInterrupt: a signal came while it was waited for.
        """
        for _ in range(2):  # one that has ended, or has other code by now, is replaced
            if server := self._server(environment):
                if run := server.start(arguments, environment=environment, work_dir=work_dir):
                    return run
                server.control.close()
                end_all([server.child])
                self._servers.remove(server)
        command = [self._python, "-m", "mnistbench.train", *arguments]
        return Child(command, environment=environment, work_dir=work_dir)

    def close(self) -> None:
        """End the process that was started, and what runs by it; more than once does no harm."""
        for server in self._servers:
            server.control.close()
        end_all([server.child for server in self._servers])
        self._servers.clear()

    def _server(self, environment: Mapping[str, str]) -> _Server | None:
        """One that gives its runs `environment`, if any can be had."""
        variables = {k: v for k, v in environment.items() if not k.startswith(_OURS)}
        for server in self._servers:
            if server.variables == variables and not server.is_busy:
                return server
        if not self._is_usable:
            return None
        here = uses_gpu(environment) if self._in_process is None else self._in_process
        server = _Server(self._python, variables, in_process=here)
        self._servers.append(server)
        with raised_stops():
            if server.control.recv(1):
                return server
        end_all([server.child])
        self._is_usable = False
        why = (server.child.said.strip().splitlines() or ["it ended"])[-1]
        say(f"each run{self._of} imports PyTorch anew, as no process can be preloaded: {why}")
        return None


class _Server:
    """The process that forks (`mnistbench.engine.preloaded`), as seen from here."""

    def __init__(self, python: str, variables: Mapping[str, str], *, in_process: bool) -> None:
        self.variables, self._in_process = variables, in_process
        self._last: _Run | None = None
        self.control, theirs = socket.socketpair()
        file = theirs.fileno()
        module = "mnistbench.engine.preloaded"
        with theirs:
            self.child = Child(
                [python, "-m", module, str(file), "mnistbench.train", *["here"] * in_process],
                environment={**variables, PARENT: str(os.getpid())},
                passed=[file],
            )

    @property
    def is_busy(self) -> bool:
        """Whether it can start no run before its last one has ended."""
        return self._in_process and self._last is not None and self._last.status is None

    def start(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        work_dir: Path | None,
    ) -> _Run | None:
        """Start a run; none if it has ended meanwhile, or has other code than there is by now."""
        ours, theirs = socket.socketpair()
        log, mark = TemporaryFile(), token_hex(8)  # noqa: SIM115 - closed by `kill`
        request = {
            "arguments": arguments,
            "environment": marked(environment, mark),
            "work_dir": None if work_dir is None else str(work_dir),
        }
        try:
            with theirs:
                socket.send_fds(self.control, [b"+"], [theirs.fileno(), log.fileno()])
            if pid := int.from_bytes(ours.recv(4), "little"):
                ours.sendall(json.dumps(request).encode())
                ours.shutdown(socket.SHUT_WR)
                self._last = _Run(self.child, (pid, mark), connection=ours, log=log)
                return self._last
        except OSError:  # it has ended
            pass
        ours.close()
        log.close()
        return None


class _Run:
    """A run that was forked, as `children.Child` is one that was started.

    Attributes:
        said: what it said on stderr, once it was ended.
        mark: none as long as the server, which ends all that a run leaves, is there.
    """

    def __init__(
        self, server: Child, known: tuple[int, str], *, connection: socket.socket, log: IO[bytes]
    ) -> None:
        self.said, self.mark = "", ""
        self._server, self._connection, self._log = server, connection, log
        self._pid, self._mark = known
        self._status: int | None = None

    @property
    def status(self) -> int | None:
        """Exit status, minus the signal's number if one killed it; none while it runs."""
        self.wait(0.0)
        return self._status

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether it ended within `timeout_s`; without one, wait for its end."""
        if self._status is None:
            poll = select.poll()
            poll.register(self._connection, select.POLLIN)
            if poll.poll(None if timeout_s is None else 1e3 * timeout_s):
                self._status = self._told_status()
        return self._status is not None

    def _told_status(self) -> int:
        try:
            told = self._connection.recv(4)
        except ConnectionError:  # what it was sent is unread
            told = b""
        if not told:  # the server has ended, and with it the run
            self.mark = self._mark
            return -signal.SIGKILL
        return int.from_bytes(told, "little", signed=True)

    def signal(self, number: int) -> None:
        """Send a signal to it and to all of its group, if it still runs."""
        if self.status is None:
            try:
                os.killpg(self._pid, number)
            except ProcessLookupError:  # it has no group of its own yet, or has just ended
                if self.status is None:
                    os.kill(self._pid, number)

    def kill(self) -> None:
        """End it and all that it started at once, and note what it said."""
        self.signal(signal.SIGKILL)
        if not self.wait(GRACE_S):
            self._server.kill()
            self.wait()
        self._connection.close()
        if not self._log.closed:
            self.said = text_of(self._log)
