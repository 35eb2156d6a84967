"""How many cores this run's processes keep busy, and how many all else on the machine does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from mnistbench.recorder.launcher import asked_threads, this_launch
from mnistbench.recorder.limits import usable_cores

_SHORTEST_S = 0.25
"""The kernel counts in ticks of 10 ms: over less than this, they say too little."""

_CROWDED = 0.1
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


class CoreTimes(NamedTuple):
    """Processor time so far [seconds], read at `at_s`: of our processes, and of each core.

    `cores` are those that ours may run on, as places in `busy_s`, of which they may use `usable` at
    once, or all.
    """

    at_s: float
    ours_s: float
    busy_s: tuple[float, ...]
    cores: frozenset[int]
    usable: int | None = None


class CoreUse(NamedTuple):
    """How many cores were kept busy by this run's processes and by all else, of `num_cores`."""

    ours: float
    others: float
    num_cores: int


def read_core_times() -> CoreTimes | None:
    """The counters as they are; ``None`` where the system does not tell them.

    Ours are this process and what it started; under a launcher of several processes per machine,
    the launcher and all that it started. Only the cores that ours may run on count (affinity);
    under a container's quota, others from where they leave fewer than it gives.
    """
    try:
        ours = list(_our_processes())
        busy_s = tuple(map(_busy_s, psutil.cpu_times(percpu=True)))
    except (psutil.Error, OSError):
        return None
    ours_s, cores = 0.0, set[int]()
    for process in ours:
        with suppress(psutil.Error, OSError):  # it has ended: whoever waits for it has its time
            ours_s += sum(process.cpu_times()[:4])  # user, system, and both of ended children
            cores.update(getattr(process, "cpu_affinity", list)())  # not told on every system
    known = frozenset(core for core in cores if core < len(busy_s))
    known = known or frozenset(range(len(busy_s)))
    return CoreTimes(time.monotonic(), ours_s, busy_s, known, usable_cores())


def core_use(before: CoreTimes | None, after: CoreTimes | None) -> CoreUse | None:
    """What happened between two readings; ``None`` over less than a quarter of a second.

    Never below 0: a process that nobody waited for takes its time out of ours when it ends.
    """
    if before is None or after is None or len(before.busy_s) != len(after.busy_s):
        return None
    elapsed_s = after.at_s - before.at_s
    if elapsed_s < _SHORTEST_S:
        return None
    cores = before.cores | after.cores  # a thread library may have bound us to one meanwhile
    busy_s = sum(after.busy_s[core] - before.busy_s[core] for core in cores)
    ours_s = max(after.ours_s - before.ours_s, 0.0)
    num_cores = min(len(cores), after.usable or len(cores))
    spared_s = (len(cores) - num_cores) * elapsed_s
    return CoreUse(ours_s / elapsed_s, max(busy_s - ours_s - spared_s, 0.0) / elapsed_s, num_cores)


def load_line(use: CoreUse, *, wanted: int) -> str | None:
    """A line on other processes, where they leave less than nine tenths of the `wanted` cores."""
    wanted = min(wanted, use.num_cores)
    if use.others + wanted - use.num_cores <= _CROWDED * wanted:
        return None
    return (
        f"other processes use {use.others:.1f} of {use.num_cores} core{'s' * (use.num_cores > 1)}: "
        "times will be longer and vary more"
    )


def load_now() -> str | None:
    """`load_line` for runs that have not begun, measured over a quarter of a second.

    They want the cores that ``OMP_NUM_THREADS`` names, else all; beside an NVIDIA GPU, one.
    """
    if (before := read_core_times()) is None:
        return None
    time.sleep(_SHORTEST_S)
    if (use := core_use(before, read_core_times())) is None:
        return None
    wanted = 1 if _NVIDIA_DRIVER.exists() else asked_threads() or use.num_cores
    return load_line(use, wanted=wanted)


def _our_processes() -> Iterator[psutil.Process]:
    root = psutil.Process()
    if this_launch().local_world_size > 1:
        root = root.parent() or root
    yield root
    yield from root.children(recursive=True)


def _busy_s(times: object) -> float:
    """Time that a core was not idle; `user` and `nice` hold that of guests already."""
    parts = ("user", "nice", "system", "irq", "softirq", "steal")
    return float(sum(getattr(times, part, 0.0) for part in parts))
