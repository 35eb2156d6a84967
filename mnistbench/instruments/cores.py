"""How many cores there are for a process to use."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["usable_cores"]


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
