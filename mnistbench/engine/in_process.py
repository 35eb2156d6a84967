"""Runs one after the other in one process, which keeps its device: a persistent worker's part."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from socket import recv_fds, socket
from types import ModuleType
from typing import Any

import psutil
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState

from mnistbench.recorder import environment
from mnistbench.recorder.clock import count_age_from_now
from mnistbench.recorder.parent_death_signal import PARENT
from mnistbench.schema.signals import kept_reactions
from mnistbench.workload.components import has_own_code

_FRESH_SEED = torch.initial_seed()
_HOME = os.getcwd()  # noqa: PTH109
_WELL = frozenset({0, 3})
"""Exit statuses after which a process may be used again."""

_MAY_GROW = (0, 0, 2**28, 2**28)
"""How much more than the first run others may leave of what `_held` gives."""


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
    while known <= {*imported()}:
        word, files, _, _ = recv_fds(control, 1, 2)
        if not word:
            return
        control.send(os.getpid().to_bytes(4, "little"))
        os.dup2(files[0], sys.stderr.fileno())
        os.close(files[0])
        with os.fdopen(files[1]) as told:
            status = run_here(module.main, json.load(told))
        first = may_go_on(status, first)
        control.send(status.to_bytes(4, "little", signed=True))
        if not first:
            return
        known = {*imported()}


def run_here(command: Callable[[], int], request: Mapping[str, Any]) -> int:
    """Run `command` in this process as in one of its own; gives its exit status.

    `request` holds its ``arguments``, ``environment`` and ``work_dir``, and the ``parent`` that it
    ends with. It counts its time from now.
    """
    count_age_from_now()
    torch.manual_seed(_FRESH_SEED)  # devices' too
    os.chdir(request["work_dir"] or _HOME)
    os.environ.clear()
    os.environ.update(request["environment"], **{PARENT: str(request["parent"])})
    sys.argv[1:] = request["arguments"]
    try:
        with kept_reactions():
            return command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1


def may_go_on(status: int, first: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """What this process held after its first run, if it may run another after one with `status`.

    It may not after a run that failed, diverged or was signalled, that brought code of the user's
    own, or that left more behind than the `first`: threads, children, memory.
    """
    _forget_run()
    now = _held()
    growth = zip(now, first or now, _MAY_GROW, strict=True)
    fits = all(held - before <= allowed for held, before, allowed in growth)
    return (first or now) if status in _WELL and fits and not has_own_code() else None


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


def _held() -> tuple[int, ...]:
    """Threads of Python's, children, and bytes of the device and of the host."""
    me = psutil.Process()
    device_bytes = torch.cuda.memory_allocated()  # 0 where it is not in use
    return threading.active_count(), len(me.children()), device_bytes, me.memory_info().rss
