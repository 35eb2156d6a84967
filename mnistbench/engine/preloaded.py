"""``python -m mnistbench.engine.preloaded FD COMMAND``: starts runs without importing again.

It imports the module COMMAND and what its runs need, and then forks for each run that is asked for
over the socket FD (`mnistbench.launch.preloaded`). A fork is a process of its own: it has its own
session, variables, folder, arguments and log, and ends as it would have ended by itself. With a
third argument it runs all itself, one after the other (`mnistbench.engine.in_process`).
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import io
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from types import ModuleType

import numpy as np
import psutil

from mnistbench.recorder import environment
from mnistbench.recorder.code_identity import running_code
from mnistbench.recorder.parent_death_signal import PARENT, die_with_parent

_NEEDED = (
    *("accelerate", "multiprocessing.synchronize", "mnistbench.engine.run_seeds"),
    *("mnistbench.output.tables", "mnistbench.output.profile_table", "mnistbench.output.screen"),
)
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_status = 1


def main() -> None:
    """Serve, and in each fork that this makes, run the command."""
    control, command = socket.socket(fileno=int(sys.argv[1])), sys.argv[2]
    die_with_parent()
    atexit.register(_end)  # as the first, so that it is called as the last
    module = _imported(command)
    control.send(b"+")
    if sys.argv[3:]:
        from mnistbench.engine.in_process import serve_here

        _run(partial(serve_here, control, module, imported=_imported_files))
    _become(module, *_serve(control))
    _run(module.main)


def _imported(command: str) -> ModuleType:
    """The module `command`, with all that its runs need, and without a thread beside this one."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # as a run sets it, before torch
    running_code()  # before it is imported
    gc.disable()  # a fork enables it
    module = import_module(command)
    for name in _NEEDED:
        import_module(name)
    gc.freeze()  # a collection would copy all of it into each fork
    trial = os.fork()  # before a fork OpenBLAS ends its threads, and later starts them when used
    if not trial:
        os._exit(0)
    os.waitpid(trial, 0)
    if (number := len(os.listdir("/proc/self/task"))) > 1:  # noqa: PTH208
        raise SystemExit(f"{number} threads run after the imports, of which a fork would have one")
    return module


def _serve(control: socket.socket) -> tuple[socket.socket, int]:
    """Fork for each request. Only a fork returns: with the connection and the log of its run.

    A request is refused, by closing its connection, once a file that was imported has changed.
    """
    _adopt_orphans()
    code = [*_imported_files()]
    runs: dict[int, tuple[int, socket.socket]] = {}  # by what tells of a run's end
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready in runs:
                poll.unregister(ready)
                os.close(ready)
                _bury(*runs.pop(ready), living={pid for pid, _ in runs.values()})
                continue
            word, files, _, _ = socket.recv_fds(control, 1, 2, socket.MSG_CMSG_CLOEXEC)
            if not word:  # who asked has ended or wants no more; what runs ends with this process
                os._exit(0)
            connection, log = socket.socket(fileno=files[0]), files[1]
            if code == [*_imported_files()]:
                pid = os.fork()
                if not pid:
                    for file in (control.detach(), *runs):
                        os.close(file)
                    return connection, log
                connection.send(pid.to_bytes(4, "little"))
                end = os.pidfd_open(pid)
                runs[end] = pid, connection
                poll.register(end, select.POLLIN)
            else:
                connection.close()
            os.close(log)


def _imported_files() -> Iterator[tuple[str, int, int]]:
    """Name, time of change and size of each file that modules were imported from."""
    for module in list(sys.modules.values()):
        if file := getattr(module, "__file__", None):
            with suppress(OSError):
                found = os.stat(file)  # noqa: PTH116 - of thousands
                yield file, found.st_mtime_ns, found.st_size


def _bury(pid: int, connection: socket.socket, *, living: set[int]) -> None:
    """End all that the run `pid`, which has ended, has left, and then tell its exit status."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    while left := [p for p in psutil.Process().children() if p.pid not in living]:
        for process in left:
            process.kill()
            os.waitpid(process.pid, 0)
    with suppress(OSError), connection:  # nobody may want to know
        connection.send(os.waitstatus_to_exitcode(status).to_bytes(4, "little", signed=True))


def _adopt_orphans() -> None:
    """Become the parent of processes below this one whose own parent ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _become(module: ModuleType, connection: socket.socket, log: int) -> None:
    """Be, in all that a run can see, the process that was asked for over `connection`."""
    os.setsid()
    os.environ[PARENT] = str(os.getppid())
    die_with_parent()
    _adopt_orphans()
    os.dup2(log, sys.stderr.fileno())
    os.close(log)
    with connection, connection.makefile(encoding="utf-8") as told:
        request = json.load(told)
    os.environ.clear()
    os.environ.update(request["environment"], **{PARENT: str(os.getppid())})
    if request["work_dir"]:
        os.chdir(request["work_dir"])
    sys.argv[:] = [str(module.__file__), *request["arguments"]]
    sys.modules["__main__"] = module
    environment.process = "warm"
    np.random.seed()  # noqa: NPY002 - else all forks would draw the same; `random` does it itself
    gc.enable()


def _run(command: Callable[[], int | None]) -> None:
    """End this process as `command` says."""
    global _status  # noqa: PLW0603 - `_end` is given nothing
    try:
        sys.exit(command())
    except SystemExit as end:
        _status = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise


def _end() -> None:
    """End a fork once all else that is to be done at exit is.

    Python would go through all its objects once more, and so copy what it shares with the server,
    which takes as long as a short run. All that this would still write is open files.
    """
    for one in gc.get_objects():
        if issubclass(type(one), io.IOBase) and not one.closed:
            with suppress(Exception):
                one.flush()
    os._exit(_status & 0xFF)


if __name__ == "__main__":
    main()
