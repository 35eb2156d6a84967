"""Runs one after the other in one process, which keeps its device: a persistent worker's part."""

from __future__ import annotations

import ctypes
import gc
import os
import runpy
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, chdir, suppress
from typing import NamedTuple

import psutil
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState

from mnistbench.recorder.clock import count_age_from_now
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


def run_here(
    module: str, arguments: Sequence[str], *, variables: Mapping[str, str], work_dir: str
) -> int:
    """Run ``python -m module`` with `arguments` in this process; gives its exit status.

    The run has `variables` as its environment, works in `work_dir`, and counts its time from now.
    """
    count_age_from_now()
    torch.manual_seed(_FRESH_SEED)  # devices' too
    with ExitStack() as left:
        left.enter_context(kept_reactions())
        left.enter_context(chdir(work_dir))
        left.callback(_set_variables, dict(os.environ))
        _set_variables(variables)
        left.callback(setattr, sys, "argv", sys.argv)
        sys.argv = [module, *arguments]
        return _status(module)


def _set_variables(variables: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def _status(module: str) -> int:
    """The exit status that an interpreter would end with, once it has said what it would say."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


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
    if torch.cuda.is_initialized():
        torch._C._cuda_clearCublasWorkspaces()  # noqa: SLF001 - one for each stream used
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # the GNU C library's


def _held() -> Held:
    process = psutil.Process()
    return Held(
        threads=threading.active_count(),
        children=len(process.children()),
        device_bytes=torch.cuda.memory_allocated() if torch.cuda.is_initialized() else 0,
        host_bytes=process.memory_info().rss,
    )


def _is_as_before(now: Held, first: Held) -> bool:
    grown = max(now.device_bytes - first.device_bytes, now.host_bytes - first.host_bytes)
    same = now.threads <= first.threads and now.children <= first.children
    return same and grown <= _MOST_GROWN_BYTES
