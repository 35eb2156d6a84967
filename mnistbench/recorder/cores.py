"""What a process may compute on: cores, whether alone on them, and whether no GPU is wanted."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["SHARED_CORES", "cpu_is_asked_for", "usable_cores"]

SHARED_CORES = "MNISTBENCH_SHARED_CORES"
"""Variable by which who starts several runs side by side says so: 1."""

_TRUE = frozenset({"y", "yes", "t", "true", "on", "1"})  # as Accelerate reads it


def cpu_is_asked_for() -> bool:
    """Whether ``ACCELERATE_USE_CPU`` says that no GPU is to be used."""
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in _TRUE


def usable_cores() -> int:
    """Cores this process may use: affinity and cgroup quota respected, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _cgroup_cores()
    return max(1, min(cores or 1, quota or cores or 1))


def _cgroup_cores() -> int | None:
    """Whole cores of the cgroup v2 quota, rounded up; ``None`` where there is no limit."""
    limit = Path("/sys/fs/cgroup/cpu.max")
    if not limit.exists():
        return None
    quota, _, period = limit.read_text().partition(" ")
    return None if quota == "max" else -(-int(quota) // int(period))
