"""What joins the processes of a run: its latency and bandwidth, by all-reduces of two sizes."""

from __future__ import annotations

from statistics import median

import torch
from accelerate import Accelerator

from mnistbench.recorder.machine_probe import timed_s
from mnistbench.schema.record import Link

_REPEATS = 7
_LONG_ENOUGH_S = 5e-3
_FIRST_COUNT, _LAST_COUNT = 2**12, 2**22
_TIMES_LATENCY = 10


def measure_interconnect(accelerator: Accelerator) -> Link | None:
    """Latency and bandwidth of a ring round all processes; ``None`` for a process alone.

    A message of one number gives the latency; the bandwidth is what a long one takes beyond that.
    How long it has to be depends on the link: it grows until the exchange takes ten times the
    latency and 5 ms, or 16 MiB are sent.
    """
    world = accelerator.num_processes
    if world == 1:
        return None
    short_s = _all_reduce_s(accelerator, 1)
    count = _FIRST_COUNT
    long_s = _all_reduce_s(accelerator, count)
    while long_s < max(_LONG_ENOUGH_S, _TIMES_LATENCY * short_s) and count < _LAST_COUNT:
        count *= 4
        long_s = _all_reduce_s(accelerator, count)
    return interconnect_of(short_s, long_s, num_bytes=4 * count, num_processes=world)


def interconnect_of(short_s: float, long_s: float, *, num_bytes: int, num_processes: int) -> Link:
    """The link over which almost nothing takes `short_s` seconds and `num_bytes` `long_s`."""
    others = 2 * (num_processes - 1)
    carried_s = long_s - short_s if long_s > short_s else long_s
    return Link(
        latency_s=short_s / others,
        bandwidth_bytes_per_s=others / num_processes * num_bytes / carried_s,
    )


def _all_reduce_s(accelerator: Accelerator, count: int) -> float:
    """Median seconds of an all-reduce of `count` float32, as the last to come to each finds it."""
    numbers = torch.zeros(count, device=accelerator.device)
    on_cpu = accelerator.device.type == "cpu"
    wait = (lambda: None) if on_cpu else torch.accelerator.synchronize
    # the first, which is not timed, makes connections and buffers
    took_s = timed_s(lambda: torch.distributed.all_reduce(numbers), wait, repeats=_REPEATS)
    shortest = torch.tensor(took_s, device=accelerator.device)
    torch.distributed.all_reduce(shortest, torch.distributed.ReduceOp.MIN)
    return float(median(shortest.tolist()))
