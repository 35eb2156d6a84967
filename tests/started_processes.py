"""Which processes a test starts, and which of them outlive it."""

import os
import sys
import time
from pathlib import Path

import psutil

__all__ = ["Watch"]

_EVENTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}
_BRIEF = {"git", "file", "uname", "lscpu", "ldconfig"}
"""What runs and imports ask about the machine and the checkout."""
_KERNELS = "convolution.cpp"
"""Our own, which the first test that trains compiles for all."""
_OURS = "MNISTBENCH_TESTS_PROCESS"
"""Variable with the process of the tests that a process was started by, directly or not."""


class Watch:
    """What this process starts from now on.

    Attributes:
        started: commands since it was emptied.
    """

    def __init__(self):
        self.started = []
        self._seen = {}
        os.environ[_OURS] = str(os.getpid())
        sys.addaudithook(self._hear)

    def _hear(self, event, arguments):
        if event in _EVENTS:
            command = str(arguments[0]) if arguments else event
            if Path(command).name not in _BRIEF and _KERNELS not in str(arguments[1:2]):
                self.started.append(command)

    def note(self, test):
        """Those that run now and did not before were started by `test`."""
        self._seen = {process: self._seen.get(process, test) for process in self._running()}

    def left_behind(self, grace_s=10):
        """Who runs still after `grace_s`, each with the test that started it."""
        patience = time.monotonic() + grace_s
        while (left := self._running()) and time.monotonic() < patience:
            time.sleep(0.05)
        return [f"{self._seen.get(one)}: {_command(one)}" for one in left]

    def _running(self):
        mark = f"{_OURS}={os.getpid()}".encode()
        found = [p for p in psutil.process_iter() if p.pid != os.getpid() and _has(p.pid, mark)]
        return [p for p in found if "fork_server.py" not in _command(p)]


def _has(pid, mark):
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or is somebody else's
        return False


def _command(process):
    try:
        return " ".join(filter(None, process.cmdline()))
    except psutil.Error:
        return ""
