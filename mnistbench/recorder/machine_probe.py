"""The machine probe: fixed work whose speed tells whether the machine itself changed.

A run measures it right before and right after training. Where the two differ, it was not the run
that became slower: another user, a lower clock, a throttled chip.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from mnistbench.schema.record import CanaryReading

if TYPE_CHECKING:
    import torch

_SIDE, _LARGEST_SIDE = 512, 8192
_MATMUL_REPEATS = 15
_COPY_BYTES, _MOST_COPY_BYTES = 2**22, 2**28
_COPY_PLACES = {"cpu": 8}
_DEVICE_COPY_PLACES = 2
_COPY_REPEATS = 7
_LONG_ENOUGH_S = 1e-3
_TRIES = 3
_sizes: dict[torch.device, tuple[int, int]] = {}
"""The side and the bytes that each device but the CPU was found to need."""


def probe_machine(device: torch.device, *, synchronize: Callable[[], None] | None) -> CanaryReading:
    """The median speed of a square matrix product in fp32 and of a copy.

    On the CPU of 512 by 512, and of 4 MiB at eight places of memory: on a virtual machine its
    speed depends on where it happens to lie: some 50 ms on two cores. On other devices, where these
    would time how fast work is launched, sizes double until each takes a millisecond, to 8,192 by
    8,192 and 256 MiB at most; once in a process. Draws no random number.
    """
    import torch

    wait = synchronize or (lambda: None)
    with torch.no_grad():
        side, num_bytes = _sizes_for(device, wait)
        matmul_s = _matmul_s(device, side, wait)
        copy_s = _copy_s(device, num_bytes, wait)
    return CanaryReading(
        matmul_flops_per_s=2 * side**3 / matmul_s, copy_bytes_per_s=num_bytes / copy_s
    )


def _sizes_for(device: torch.device, wait: Callable[[], None]) -> tuple[int, int]:
    if device.type == "cpu":
        return _SIDE, _COPY_BYTES
    if device not in _sizes:
        side, num_bytes = _SIDE, _COPY_BYTES
        while side < _LARGEST_SIDE and _matmul_s(device, side, wait, _TRIES) < _LONG_ENOUGH_S:
            side *= 2
        while (
            num_bytes < _MOST_COPY_BYTES
            and _copy_s(device, num_bytes, wait, _TRIES) < _LONG_ENOUGH_S
        ):
            num_bytes *= 2
        _sizes[device] = side, num_bytes
    return _sizes[device]


def _matmul_s(
    device: torch.device, side: int, wait: Callable[[], None], repeats: int = _MATMUL_REPEATS
) -> float:
    import torch

    factor = torch.full((side, side), 1 / side, device=device)
    product = torch.empty_like(factor)
    return median(timed_s(lambda: torch.matmul(factor, factor, out=product), wait, repeats=repeats))


def _copy_s(
    device: torch.device, num_bytes: int, wait: Callable[[], None], repeats: int = _COPY_REPEATS
) -> float:
    import torch

    places = _COPY_PLACES.get(device.type, _DEVICE_COPY_PLACES)
    # all there at once, so that no two lie at one place
    memory = torch.ones(2 * places, num_bytes, dtype=torch.uint8, device=device)
    pairs = list(zip(memory[::2], memory[1::2], strict=True))
    return median(
        median(timed_s(partial(target.copy_, source), wait, repeats=repeats))
        for source, target in pairs
    )


def timed_s(
    work: Callable[[], object],
    wait: Callable[[], None],
    *,
    repeats: int,
    longest_s: float = math.inf,
) -> list[float]:
    """How long `work` takes each time, the first of all apart, until `longest_s` have passed."""
    work()
    durations_s, began = list[float](), time.perf_counter()
    while len(durations_s) < repeats and time.perf_counter() - began <= longest_s:
        wait()
        started = time.perf_counter()
        work()
        wait()
        durations_s.append(time.perf_counter() - started)
    return durations_s
