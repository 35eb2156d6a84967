"""``python -m mnistbench.engine.preloaded FD COMMAND``: runs COMMAND without importing again.

It imports the module COMMAND and what its runs need, and forks for each run that is asked for over
the socket FD (`mnistbench.launch.preloaded`). A fork becomes a child of the process that asked.
"""

from __future__ import annotations

import atexit
import gc
import io
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np

from mnistbench.recorder import environment
from mnistbench.recorder.code_identity import running_code
from mnistbench.recorder.compile_cache import refuse_shared_headers
from mnistbench.recorder.parent_death_signal import PARENT, die_with_parent

_NEEDED = (
    *("accelerate", "multiprocessing.synchronize", "mnistbench.engine.run_seeds"),
    *("mnistbench.output.tables", "mnistbench.output.profile_table", "mnistbench.output.screen"),
)
_status = [1]


def main() -> None:
    """Serve, and in each fork that this makes, run the command."""
    control, command = socket.socket(fileno=int(sys.argv[1])), sys.argv[2]
    die_with_parent()
    atexit.register(_end)  # as the first, so that it is called as the last
    _preload(command)
    control.send(b"+")
    log, request = _serve(control)
    _become(log, request)
    control.send(os.getpid().to_bytes(4, "little"))
    control.close()
    sys.modules["__main__"] = module = sys.modules[command]
    sys.argv[:] = [str(module.__file__), *request["arguments"]]
    try:
        sys.exit(module.main())
    except SystemExit as end:
        _status[0] = end.code if isinstance(end.code, int) else bool(end.code)
        raise


def _preload(command: str) -> None:
    """Import `command` and what its runs need, without a thread beside this one."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # as a run does before torch is imported
    refuse_shared_headers()
    running_code()  # before it is imported
    gc.disable()  # a fork enables it
    for name in (command, *_NEEDED):
        import_module(name)
    gc.freeze()  # a collection would copy all of it into each fork
    if not (trial := os.fork()):  # at a fork OpenBLAS ends its threads, until it needs them again
        os._exit(0)
    os.waitpid(trial, 0)
    if (number := len(os.listdir("/proc/self/task"))) > 1:  # noqa: PTH208
        raise SystemExit(f"{number} threads run after the imports, of which a fork would have one")


def _serve(control: socket.socket) -> tuple[int, dict[str, Any]]:
    """Fork for each request; only a fork returns, with its log and what it is to be.

    A request is refused once a file that was imported has changed.
    """
    code = [*_imported_files()]
    while True:
        word, files, _, _ = socket.recv_fds(control, 1, 2, socket.MSG_CMSG_CLOEXEC)
        if not word:  # who asked has ended, or wants no more
            os._exit(0)
        if code != [*_imported_files()]:
            control.send(bytes(4))
        elif not (between := os.fork()):
            between = os.getpid()
            if os.fork():
                os._exit(0)
            while os.getppid() == between:  # then who asked is the parent
                time.sleep(0.0005)
            with os.fdopen(files[1]) as told:
                return files[0], json.load(told)
        else:
            os.waitpid(between, 0)
        for file in files:
            os.close(file)


def _imported_files() -> Iterator[tuple[str, int, int]]:
    """Name, time of change and size of each file that modules were imported from."""
    for module in list(sys.modules.values()):
        if file := getattr(module, "__file__", None):
            with suppress(OSError):
                found = os.stat(file)  # noqa: PTH116 - of thousands
                yield file, found.st_mtime_ns, found.st_size


def _become(log: int, request: dict[str, Any]) -> None:
    """Be, in what the system knows and a run can see, the process that was asked for."""
    os.setsid()
    os.environ.clear()
    os.environ.update(request["environment"], **{PARENT: str(request["parent"])})
    die_with_parent()
    os.dup2(log, sys.stderr.fileno())
    os.close(log)
    os.chdir(request["work_dir"] or ".")
    environment.process = "warm"
    np.random.seed()  # noqa: NPY002 - else all forks would draw the same; `random` does it itself
    gc.enable()


def _end() -> None:
    """End a fork once all else that is to be done at exit is.

    Python would go through all its objects once more, and so copy what it shares with the server,
    which takes as long as a short run. What that would still write is open files.
    """
    for one in gc.get_objects():
        if issubclass(type(one), io.IOBase):
            with suppress(Exception):  # closed
                one.flush()
    os._exit(_status[0])


if __name__ == "__main__":
    main()
