"""Runs one after the other in one process, which keeps its device: a persistent worker's part."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager, suppress
from socket import recv_fds, socket
from types import ModuleType
from typing import Any, NamedTuple

import psutil
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState

from mnistbench.recorder import environment
from mnistbench.recorder.clock import count_age_from_now
from mnistbench.recorder.parent_death_signal import PARENT
from mnistbench.schema.signals import kept_reactions
from mnistbench.workload.components import has_own_code

_FRESH_SEED = torch.initial_seed()
_WELL = frozenset({0, 3})
"""Exit statuses after which a process may be used again."""

_MOST_GROWN_BYTES = 2**28


class Held(NamedTuple):
    """What a process holds between runs, beside the libraries' pools."""

    threads: int
    children: int
    device_bytes: int
    host_bytes: int


def serve_here(
    control: socket, module: ModuleType, *, imported: Callable[[], Iterable[object]]
) -> None:
    """Run the command `module` here for each request, as `mnistbench.engine.preloaded` by a fork.

    It ends where `control` does, where a file that was `imported` has changed, and after a run that
    may have changed this process.
    """
    environment.process = "warm"
    gc.enable()
    sys.modules["__main__"] = module
    known, first = {*imported()}, None
    with control:
        while known <= {*imported()}:
            word, files, _, _ = recv_fds(control, 1, 2)
            if not word:
                break
            control.send(os.getpid().to_bytes(4, "little"))
            with os.fdopen(files[1]) as told:
                request = json.load(told)
            status = run_here(module.main, request, log=files[0])
            held = may_go_on(status, first)
            control.send(status.to_bytes(4, "little", signed=True))
            if not held:
                break
            known, first = {*imported()}, first or held


def run_here(command: Callable[[], int], request: Mapping[str, Any], *, log: int) -> int:
    """Run `command` in this process as in one of its own; gives its exit status.

    `request` holds its ``arguments``, ``environment`` and ``work_dir``, and the ``parent`` that it
    ends with; what it says goes to `log`, which is closed. It counts its time from now.
    """
    count_age_from_now()
    torch.manual_seed(_FRESH_SEED)  # devices' too
    with ExitStack() as left:
        left.enter_context(kept_reactions())
        left.enter_context(_said_to(log))
        left.enter_context(chdir(request["work_dir"] or "."))
        left.callback(_set_variables, dict(os.environ))
        _set_variables({**request["environment"], PARENT: str(request["parent"])})
        left.callback(setattr, sys, "argv", sys.argv)
        sys.argv = [sys.argv[0], *request["arguments"]]
        return _status(command)


@contextmanager
def _said_to(log: int) -> Iterator[None]:
    """Have what is said inside on stderr go to the file `log`, and close that."""
    own, place = os.dup(sys.stderr.fileno()), sys.stderr.fileno()
    os.dup2(log, place)
    os.close(log)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(own, place)
        os.close(own)


def _set_variables(variables: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def _status(command: Callable[[], int]) -> int:
    """The status that an interpreter would end with, once it has said what it would say."""
    try:
        return command()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
    except BaseException:
        traceback.print_exc()
    return 1


def may_go_on(status: int, first: Held | None) -> Held | None:
    """What this process holds after a run that ended with `status`, if it may run another.

    It may not after a run that failed, diverged or was signalled, that brought code of the user's
    own, or that left more behind than the `first` one: threads, children, memory.
    """
    _forget_run()
    now = _held()
    if status not in _WELL or has_own_code() or (first and not _is_as_before(now, first)):
        return None
    return first or now


def _forget_run() -> None:
    """Put back what libraries keep of a run for the life of the process."""
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()  # noqa: SLF001
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    if compiling := sys.modules.get("torch._inductor.async_compile"):
        compiling.shutdown_compile_workers()
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch._C._cuda_clearCublasWorkspaces()  # noqa: SLF001 - one for each stream used
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # the GNU C library's


def _held() -> Held:
    process = psutil.Process()
    return Held(
        threads=threading.active_count(),
        children=len(process.children()),
        device_bytes=torch.cuda.memory_allocated(),  # 0 where it is not in use
        host_bytes=process.memory_info().rss,
    )


def _is_as_before(now: Held, first: Held) -> bool:
    grown = max(now.device_bytes - first.device_bytes, now.host_bytes - first.host_bytes)
    same = now.threads <= first.threads and now.children <= first.children
    return same and grown <= _MOST_GROWN_BYTES
