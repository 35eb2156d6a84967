"""Settings of the whole process that make small steps fast, put back when a run is over."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from mnistbench.engine.plan import ExecutionPlan
from mnistbench.schema.config import RunConfig

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h of the GNU C library
# the library's own adjustment, which ends once a value is set, would have come to these
_ADJUSTED = {_M_TRIM_THRESHOLD: 2**26, _M_TOP_PAD: 2**17, _M_MMAP_THRESHOLD: 2**25}
_KEEP_ALL = {_M_TRIM_THRESHOLD: 2**30, _M_TOP_PAD: 2**28, _M_MMAP_THRESHOLD: 2**30}


@contextmanager
def applied(config: RunConfig, plan: ExecutionPlan) -> Iterator[None]:
    """Set what `config` and `plan` ask of the process while inside.

    ``matmul_precision`` holds for convolutions too, which torch runs in TF32 of itself. For the
    fast loop, ``reuse_memory`` has the GNU C library keep freed memory, whose pages are else given
    back after every step and zeroed anew; and ``flush_denormals`` keeps the calling thread, and
    those it starts from then on, out of the processor's slow path for tiny numbers.
    """
    fast = plan.loop == "fast"
    with ExitStack() as undone:
        if fast and config.reuse_memory and _set_malloc(_KEEP_ALL):
            undone.callback(_set_malloc, _ADJUSTED)
        undone.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        torch.set_float32_matmul_precision(plan.matmul_precision)
        cudnn: Any = torch.backends.cudnn  # torch's stubs lack these
        is_whole = plan.matmul_precision == "highest"
        _set(cudnn, undone, allow_tf32=not is_whole)  # who reads it must find it agree
        for operators in (cudnn.conv, cudnn.rnn):
            _set(operators, undone, fp32_precision="ieee" if is_whole else "tf32")
        if plan.deterministic:
            # kernels that add in one order; cuBLAS reads a variable for it once, which stays set
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            _set(cudnn, undone, deterministic=True, benchmark=False)
            were = torch.are_deterministic_algorithms_enabled()
            undone.callback(torch.use_deterministic_algorithms, were)
            torch.use_deterministic_algorithms(True)
        if fast:
            undone.callback(torch.set_flush_denormal, False)  # torch cannot tell what it was
            torch.set_flush_denormal(config.flush_denormals)
        yield


def _set(place: Any, undone: ExitStack, **values: Any) -> None:
    for name, value in values.items():
        undone.callback(setattr, place, name, getattr(place, name))
        setattr(place, name, value)


def _set_malloc(values: dict[int, int]) -> bool:
    """Whether the C library has these settings and took them."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(*setting) == 1 for setting in values.items())
