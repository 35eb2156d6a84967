"""Settings of the whole process that make small steps fast, put back when a run is over."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mnistbench.schema.config import RunConfig

__all__ = ["tuned"]

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h of the GNU C library
# the library's own adjustment, which ends once a value is set, would have come to these
_ADJUSTED = {_M_TRIM_THRESHOLD: 2**26, _M_TOP_PAD: 2**17, _M_MMAP_THRESHOLD: 2**25}
_KEEP_ALL = {_M_TRIM_THRESHOLD: 2**30, _M_TOP_PAD: 2**28, _M_MMAP_THRESHOLD: 2**30}


@contextmanager
def tuned(config: RunConfig) -> Iterator[None]:
    """Set what `config` asks of the process while inside; nothing for the stock loop.

    ``reuse_memory`` tells the GNU C library to keep freed memory: features of some MiB are else
    given back to the system after every step, and each page of them is fetched and zeroed anew.
    ``flush_denormals`` keeps the calling thread, and those it starts from then on, out of the
    processor's slow path for tiny numbers; ``matmul_precision`` is torch's own setting for fp32
    products.
    """
    if config.loop != "fast":
        yield
        return
    precision = torch.get_float32_matmul_precision()
    reuse = config.reuse_memory and _set_malloc(_KEEP_ALL)
    torch.set_float32_matmul_precision(config.matmul_precision)
    torch.set_flush_denormal(config.flush_denormals)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)  # torch cannot tell what it was; off is its default
        torch.set_float32_matmul_precision(precision)
        if reuse:
            _set_malloc(_ADJUSTED)


def _set_malloc(values: dict[int, int]) -> bool:
    """Whether the C library has these settings and took them."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(*setting) == 1 for setting in values.items())
