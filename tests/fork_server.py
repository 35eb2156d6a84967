"""The process that `warm_commands` has forked: it imports what takes long, once.

Each fork comes before any pool of threads exists. Launchers fork a server of their own before they
do anything, so that what they start is warm, too.
"""

import ctypes
import fcntl
import gc
import json
import os
import runpy
import signal
import socket
import struct
import sys
import time
from pathlib import Path

_PATH = list(sys.path)
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mnistbench.schema.config import RunConfig  # noqa: E402
from mnistbench.workload.datasets import keep_dataset  # noqa: E402
from tests.warm_commands import LAUNCHERS, command_of, receive, use  # noqa: E402

PRELOADED = (
    *("torch.distributed.launcher.api", "torch.utils.data", "torchvision", "accelerate"),
    *(f"accelerate.commands.{name}" for name in ("config", "estimate", "launch", "merge", "test")),
    *("accelerate.commands.to_fsdp2", "accelerate.commands.tpu"),
    *("mnistbench.engine.run_seeds", "mnistbench.cli"),
    *("mnistbench.output.tables", "mnistbench.launch.sweeping", "scipy.stats"),
    *("torch._dynamo", "mnistbench.engine.diagnosis", "multiprocessing.synchronize"),
)
_execvp = os.execvp


def main():
    """Import and draw what takes long, then be each process that is asked for."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    for name in PRELOADED:
        __import__(name)
    for size in (400, 1200):  # what most tests draw
        keep_dataset(RunConfig(dataset="synthetic", synthetic_train_size=size, val_size=100))
    gc.freeze()  # a collection would copy all of it into each fork
    num_threads = len(list(Path("/proc/self/task").iterdir()))
    assert num_threads == 1, f"{num_threads} threads, of which a fork has one"
    _live(_serve(connection))


def _live(request):
    """Become the process of `request`, and do what it is for."""
    _become(request)
    asked_of_it = _fork_server() if request["module"] in LAUNCHERS else None
    if asked_of_it:
        _live(asked_of_it)
    else:
        _run(request)


def _run(command):
    sys.argv[:] = [command["module"], *command["arguments"]]
    try:
        runpy.run_module(command["module"], run_name="__main__", alter_sys=True)
    except _ReplacedError as replaced:
        _show(replaced.args[0]["words"])
        _run(replaced.args[0])


class _ReplacedError(BaseException):
    """This process is to become another command."""


def _replace(file, words):
    """`os.execvp`, without a new interpreter where that can be."""
    command = command_of([file, *words[1:]])
    if command is None:
        _execvp(file, words)
    raise _ReplacedError(command)


def _serve(connection):
    """Fork for each request, which only the new process returns, with its files."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        header, files, _, _ = socket.recv_fds(connection, 8, 64)
        if not header:
            os._exit(0)  # who asked has ended
        message = receive(connection, struct.unpack("q", header)[0])
        between = os.fork()
        if between == 0:
            pid = os.fork()
            if pid == 0:
                connection.close()
                return json.loads(message) | {"files": files}
            connection.sendall(struct.pack("q", pid))
            os._exit(0)
        for file in files:
            os.close(file)
        os.waitpid(between, 0)
        connection.sendall(struct.pack("q", 0))  # it is a child of who asked by now


def _become(request):
    """Be the process that was asked for, in all that the system knows of it."""
    while (parent := os.getppid()) != request["parent"]:
        if parent == 1:  # who asked was killed meanwhile
            os._exit(1)
        time.sleep(0.0005)
    if request["session"]:
        os.setsid()
    _place_files(request["files"], [0, 1, 2, *request["passed"]])
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["variables"])
    _show(request["words"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    _reopen(unbuffered="-u" in request["flags"])
    first = [] if "-P" in request["flags"] else [request["folder"]]
    told = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = dict.fromkeys([*first, *told, *_PATH])
    if "OMP_NUM_THREADS" in os.environ:
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def _place_files(files, numbers):
    """Have `files` as `numbers`, and no longer as what they came as."""
    high = [fcntl.fcntl(file, fcntl.F_DUPFD, max(numbers) + 1) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(high, numbers, strict=True):
        os.dup2(file, number)
        os.close(file)


def _reopen(*, unbuffered):
    """Streams as an interpreter makes them for the files that 0, 1 and 2 are now."""
    sys.stdin = open(0, closefd=False, encoding=sys.stdin.encoding)  # noqa: SIM115
    for name, number in (("stdout", 1), ("stderr", 2)):
        old = getattr(sys, name)
        new = open(number, "w", closefd=False, encoding=old.encoding, errors=old.errors)  # noqa: SIM115
        terminal = number == 2 or os.isatty(number)
        new.reconfigure(line_buffering=terminal, write_through=unbuffered)
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)


def _show(words):
    """Write the command line and the variables where the system reads them."""
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    arguments, variables = map(int, stat[45:47]), map(int, stat[47:49])  # see proc(5): 48 to 51
    told = [f"{name}={value}" for name, value in os.environ.items()]
    for (begin, end), lines in ((arguments, words), (variables, told)):
        text = b"".join(os.fsencode(line) + b"\0" for line in lines)[: end - begin]
        ctypes.memmove(begin, text.ljust(end - begin, b"\0"), end - begin)


def _fork_server():
    """Fork a server off a launcher; in what that forks later, return what is asked of it."""
    ours, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        use(ours, os.environ)
        os.execvp = _replace
        return None
    ours.close()
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)  # whoever reads from the launcher waits for it alone
    return _serve(theirs)


if __name__ == "__main__":
    main()
