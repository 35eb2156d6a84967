"""The host canary: fixed work whose speed tells whether the machine itself changed.

A run measures it right before and right after training. Where the two differ, it was not the run
that became slower: another user, a lower clock, a throttled chip.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

from mnistbench.schema.record import CanaryReading

__all__ = ["read_canary"]

_SIDE = 512
_COPY_BYTES = 2**26  # more than caches hold: a copy within them depends on where it happens to lie
_REPEATS = 15


def read_canary(device: torch.device, *, synchronize: Callable[[], None] | None) -> CanaryReading:
    """The median speed of a 512-by-512 matrix product in fp32 and of a copy of 64 MiB.

    Takes about 0.15 s on two cores; draws no random number. `synchronize` waits for `device`.
    """
    factor = torch.full((_SIDE, _SIDE), 1 / _SIDE, device=device)
    product = torch.empty_like(factor)
    source = torch.ones(_COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    wait = synchronize or (lambda: None)
    with torch.no_grad():
        matmul_s = _median_s(lambda: torch.matmul(factor, factor, out=product), wait)
        copy_s = _median_s(lambda: target.copy_(source), wait)
    return CanaryReading(
        matmul_flops_per_s=2 * _SIDE**3 / matmul_s, copy_bytes_per_s=_COPY_BYTES / copy_s
    )


def _median_s(work: Callable[[], object], wait: Callable[[], None]) -> float:
    work()
    durations_s = []
    for _ in range(_REPEATS):
        wait()
        started = time.perf_counter()
        work()
        wait()
        durations_s.append(time.perf_counter() - started)
    return median(durations_s)
