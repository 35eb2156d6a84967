"""Python commands that start warm: forks of a process that has imported torch and the package.

``python -m mnistbench.train`` imports torch and Accelerate for three seconds before it does
anything, and tests start hundreds of such processes. After `install`, `subprocess` has commands of
`WARM` forked off one process (`fork_server.py`) that imported all that once. What it forks is a
child of whoever asked, with its own session, folder, variables, files, signals and command line.

A command still gets an interpreter of its own inside `cold`, and where it differs from the server
in what an interpreter reads at its start, or would find another ``mnistbench``.
"""

import atexit
import contextlib
import ctypes
import inspect
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

__all__ = ["LAUNCHERS", "cold", "command_of", "install", "receive", "use"]

ROOT = Path(__file__).resolve().parents[1]
SERVER = Path(__file__).with_name("fork_server.py")
LAUNCHERS = {
    *("torch.distributed.run", "accelerate.commands.accelerate_cli", "mnistbench.launch.tied"),
    *("mnistbench", "mnistbench.sweep", "mnistbench.tune"),
    *("mnistbench.compare", "mnistbench.doctor"),
}
"""Modules that start further processes."""

WARM = LAUNCHERS | {
    *("mnistbench.train", "mnistbench.report", "tests.engine.sharded_train"),
    *("mnistbench.engine.connectivity_check", "mnistbench.engine.preloaded"),
    *("tests.engine.fp16_on_cpu", "tests.engine.hooked_train", "tests.engine.failing_compile"),
    "tests.engine.debug_launched",
}
"""Modules whose imports are worth a server. None of them is imported before it is run."""

READ_AT_START = (
    *("PYTHON", "LC_", "LANG", "LD_", "MALLOC", "GOMP", "MKL", "OMP_WAIT"),
    *("TORCH_LOGS", "TORCHDYNAMO", "TORCH_COMPILE"),
)
"""How variables begin that an interpreter or a library reads when it is loaded."""

_PLACED = {"PYTHONPATH", "PYTHONSAFEPATH"}
"""Those of them that a fork does as they say."""

_ROOM = 100_000
"""Bytes that the system shows of a process's command line, and of its variables."""

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True)
_execute_child = subprocess.Popen._execute_child


class _Server:
    """The process that forks, to this one."""

    def __init__(self, connection, variables):
        self.connection = connection
        self.read_at_start = _read_at_start(variables)
        self.lock = threading.Lock()

    def fork(self, request, files):
        """The number of a new process with `files`, which is a child of this one."""
        message = json.dumps(request | {"parent": os.getpid()}).encode()
        with self.lock:
            _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # who loses its parent comes to us
            try:
                header = struct.pack("q", len(message))
                socket.send_fds(self.connection, [header], files)
                self.connection.sendall(message)
                pid, _ = struct.unpack("qq", receive(self.connection, 16))
            finally:
                _libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        return pid


_servers = []  # the one of this process, if any
_cold = []  # as long as it is, so often is an interpreter of its own asked for
_at_start = {}  # variables


def install():
    """Have commands of `WARM` forked off a server, which the first of them starts."""
    if sys.platform == "linux":
        _at_start.update(os.environ)
        subprocess.Popen._execute_child = _execute_warm


@contextlib.contextmanager
def cold():
    """Inside, each command gets an interpreter of its own."""
    _cold.append(True)
    try:
        yield
    finally:
        _cold.pop()


def _server():
    if not _servers:
        _start()
    return _servers[0]


def _start():
    ours, theirs = socket.socketpair()
    room = "x" * _ROOM
    variables = {name: _at_start[name] for name in _at_start.keys() - {"OMP_NUM_THREADS"}}
    quiet = {"OPENBLAS_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}  # as a run sets it
    process = subprocess.Popen(
        [sys.executable, "-P", str(SERVER), str(theirs.fileno()), room],
        env=variables | quiet | {"FORK_SERVER_ROOM": room},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
    )
    process.returncode = 0  # nobody waits for it: it ends with this process
    theirs.close()
    atexit.register(ours.close)
    use(ours, variables)


def use(connection, variables):
    _servers[:] = [_Server(connection, variables)]
    install()


def _read_at_start(variables):
    told = {name: value for name, value in variables.items() if name.startswith(READ_AT_START)}
    return {name: told[name] for name in told.keys() - _PLACED}


def _execute_warm(self, *args, **kwargs):
    """`Popen._execute_child`, by the server where that can be."""
    told = inspect.signature(_execute_child).bind(self, *args, **kwargs).arguments
    request = _request(told)
    if request is None:
        _execute_child(self, *args, **kwargs)
        return
    names = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
    pipes = {name: told[name] for name in names}
    files = [pipes["p2cread"], pipes["c2pwrite"], pipes["errwrite"]]
    files = [number if file == -1 else file for number, file in enumerate(files)]
    sys.audit(
        "subprocess.Popen",
        request["words"][0],
        request["words"],
        request["folder"],
        request["variables"],
    )
    self.pid = _server().fork(request, [*files, *request["passed"]])
    self._child_created = True
    self._close_pipe_fds(*pipes.values())


def _request(told):
    """What the server is asked, or None where the command needs an interpreter of its own."""
    words = [] if isinstance(told["args"], str) else [os.fspath(word) for word in told["args"]]
    command = command_of(words)
    folder = Path(told["cwd"] or Path.cwd())
    variables = dict(os.environ if told["env"] is None else told["env"])
    if command and variables.get("PYTHONSAFEPATH"):
        command["flags"] = [*command["flags"], "-P"]
    first = [Path(part) for part in variables.get("PYTHONPATH", "").split(os.pathsep) if part]
    if command and "-P" not in command["flags"]:
        first.append(folder)
    if (
        command is None
        or _cold
        or told["preexec_fn"]
        or told["executable"] not in {None, words[0]}
        or not folder.is_dir()
        or any(part.resolve() != ROOT and (part / "mnistbench").exists() for part in first)
        or _read_at_start(variables) != _server().read_at_start
    ):
        return None
    return command | {
        "folder": str(folder),
        "variables": variables,
        "session": bool(told["start_new_session"]),
        "passed": sorted(told["pass_fds"]),
    }


def command_of(words):
    """Module, arguments and flags of ``python -m MODULE …``, if it is one of `WARM`."""
    if words[:1] != [sys.executable] or "-m" not in words[:4]:
        return None
    place = words.index("-m")
    flags, module, arguments = words[1:place], words[place + 1], words[place + 2 :]
    if module not in WARM or not {*flags} <= {"-P", "-u"}:
        return None
    return {"words": words, "module": module, "arguments": arguments, "flags": flags}


def receive(connection, size):
    message = b""
    while len(message) < size:
        part = connection.recv(size - len(message))
        if not part:
            raise EOFError("the fork server has ended; what it said is above")
        message += part
    return message
