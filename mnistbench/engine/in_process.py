"""What a run leaves behind in a process that runs another: put back, or that process has to end."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from contextlib import suppress

import psutil
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState

from mnistbench.workload.components import has_own_code

_FRESH_SEED = torch.initial_seed()
_WELL = frozenset({0, 3})
"""Exit statuses after which a process may be used again."""

_MAY_GROW = (0, 0, 2**28, 2**28)
"""How much more than the first run others may leave of what `_held` gives."""


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
    torch.manual_seed(_FRESH_SEED)  # devices' too
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
