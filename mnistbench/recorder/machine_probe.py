"""The host canary: fixed work whose speed tells whether the machine itself changed.

A run measures it right before and right after training. Where the two differ, it was not the run
that became slower: another user, a lower clock, a throttled chip.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from mnistbench.schema.record import CanaryReading

__all__ = ["probe_machine"]

_SIDE = 512
_MATMUL_REPEATS = 15
_COPY_BYTES = 2**22
_COPY_PLACES = 8
_COPY_REPEATS = 7


def probe_machine(device: torch.device, *, synchronize: Callable[[], None] | None) -> CanaryReading:
    """The median speed of a 512-by-512 matrix product in fp32 and of a copy of 4 MiB.

    The copy is timed at eight places of memory, since on a virtual machine its speed depends on
    where it happens to lie; at 4 MiB it lives in the cache that neighbours share. Takes about 50 ms
    on two cores; draws no random number. `synchronize` waits for `device`.
    """
    wait = synchronize or (lambda: None)
    with torch.no_grad():
        matmul_s = _matmul_s(device, wait)
        copy_s = median(_copy_s(*pair, wait) for pair in _places(device))
    return CanaryReading(
        matmul_flops_per_s=2 * _SIDE**3 / matmul_s, copy_bytes_per_s=_COPY_BYTES / copy_s
    )


def _matmul_s(device: torch.device, wait: Callable[[], None]) -> float:
    factor = torch.full((_SIDE, _SIDE), 1 / _SIDE, device=device)
    product = torch.empty_like(factor)
    return _median_s(
        lambda: torch.matmul(factor, factor, out=product), wait, repeats=_MATMUL_REPEATS
    )


def _places(device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Pairs of a source and a target, all there at once so that no two lie at one place."""
    sources = torch.ones(2 * _COPY_PLACES, _COPY_BYTES, dtype=torch.uint8, device=device)
    return list(zip(sources[::2], sources[1::2], strict=True))


def _copy_s(source: Tensor, target: Tensor, wait: Callable[[], None]) -> float:
    return _median_s(lambda: target.copy_(source), wait, repeats=_COPY_REPEATS)


def _median_s(work: Callable[[], object], wait: Callable[[], None], *, repeats: int) -> float:
    work()
    durations_s = []
    for _ in range(repeats):
        wait()
        started = time.perf_counter()
        work()
        wait()
        durations_s.append(time.perf_counter() - started)
    return median(durations_s)
