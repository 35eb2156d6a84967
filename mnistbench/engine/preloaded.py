"""``python -m mnistbench.engine.preloaded FD COMMAND``: runs COMMAND without importing again.

It imports the module COMMAND and what its runs need, reads the data of the first, and forks for
each run that is asked for over the socket FD (`mnistbench.launch.preloaded`). A fork becomes a
child of the process that asked.
With a third argument it does not fork: it runs one after the other, and so keeps its device.
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
import traceback
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np

from mnistbench.recorder import environment
from mnistbench.recorder.clock import count_age_from_now
from mnistbench.recorder.code_identity import running_code
from mnistbench.recorder.compile_cache import refuse_shared_headers
from mnistbench.recorder.parent_death_signal import FIRST_RUN, die_with_parent
from mnistbench.schema.signals import kept_reactions

_NEEDED = (
    *("accelerate", "multiprocessing.synchronize", "mnistbench.engine.run_seeds"),
    *("torch._dynamo", "mnistbench.engine.diagnosis"),  # what some runs need takes a second
    *("mnistbench.output.tables", "mnistbench.output.profile_table", "mnistbench.output.screen"),
)
_OWN_FILES = [
    str(file)
    for file in Path(__file__).parents[1].rglob("*.*")
    if file.parent.name != "__pycache__"
]
"""Of this package, whose identity is told once: a run may be the first to import or compile one."""


def main() -> None:
    """Serve until nobody asks, a file of the code has changed, or a run left traces here."""
    control, here, status = socket.socket(fileno=int(sys.argv[1])), bool(sys.argv[3:]), [0]
    die_with_parent()
    atexit.register(_end, status)  # as the first, so that it is called as the last
    command = sys.modules["__main__"] = _preload(sys.argv[2])
    from mnistbench.engine.in_process import may_go_on

    known, held = {*_code_files()}, None
    control.send(b"+")
    while True:
        word, files, _, _ = socket.recv_fds(control, 1, 2)
        if not word or not known <= {*_code_files()}:
            return
        count_age_from_now()
        _become(*files)
        if not here and not _forked():
            continue
        control.send(os.getpid().to_bytes(4, "little"))
        if not here:
            control.close()
        status[0] = run_here(command)
        if not here:
            return
        held = may_go_on(status[0], held)
        control.send(status[0].to_bytes(4, "little", signed=True))
        if not held:
            return
        known |= {*_code_files()}


def _preload(command: str) -> ModuleType:
    """Import `command` and what its runs need, data too, without a thread beside this one."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # as a run does before torch is imported
    environment.process = "warm"
    refuse_shared_headers()
    running_code()  # before it is imported
    gc.disable()  # a run enables it
    for name in (command, *_NEEDED):
        import_module(name)
    _keep_data(sys.modules[command])
    gc.freeze()  # a collection would copy all of it into each fork
    if not (trial := os.fork()):  # at a fork OpenBLAS ends its threads, until it needs them again
        os._exit(0)
    os.waitpid(trial, 0)
    if (number := len(os.listdir("/proc/self/task"))) > 1:  # noqa: PTH208
        raise SystemExit(f"{number} threads run after the imports, of which a fork would have one")
    return sys.modules[command]


def _keep_data(command: ModuleType) -> None:
    """Have the data of the first run in memory; a run by itself reads what has changed since."""
    with suppress(KeyError, OSError):
        folder, *arguments = json.loads(os.environ[FIRST_RUN])
        os.chdir(folder)
        command.keep_data(arguments)


def _code_files() -> Iterator[tuple[str, int, int]]:
    """Name, time of change and size of each file of this package, and of those imported from."""
    imported = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    for file in {*_OWN_FILES, *filter(None, imported)}:
        with suppress(OSError):
            found = os.stat(file)  # noqa: PTH116 - of thousands
            yield file, found.st_mtime_ns, found.st_size


def _become(log: int, told: int) -> None:
    """Be, in what a run can see, the process that was asked for.

    `log` takes what it says; the file `told` holds its ``arguments``, ``environment`` and
    ``work_dir``, as JSON.
    """
    os.dup2(log, sys.stderr.fileno())
    os.close(log)
    with os.fdopen(told) as file:
        request = json.load(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["work_dir"])
    sys.argv[:] = [str(sys.modules["__main__"].__file__), *request["arguments"]]


def _forked() -> bool:
    """Whether this is a new process, which has become a child of the one that asked."""
    if between := os.fork():
        os.waitpid(between, 0)
        return False
    between = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == between:  # then who asked is the parent
        time.sleep(0.0005)
    os.setsid()
    np.random.seed()  # noqa: NPY002 - else all forks would draw the same; `random` does it itself
    return True


def run_here(command: ModuleType) -> int:
    """Run `command` in this process as in one of its own; gives its exit status."""
    try:
        with kept_reactions():
            return int(command.main())
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1


def _end(status: list[int]) -> None:
    """End a fork once all else that is to be done at exit is.

    Python would go through all its objects once more, and so copy what it shares with the server,
    which takes as long as a short run. What that would still write is open files.
    """
    for one in gc.get_objects():
        if issubclass(type(one), io.IOBase):
            with suppress(Exception):  # closed
                one.flush()
    os._exit(status[0])


if __name__ == "__main__":
    main()
