"""What a process may use of its machine: cores and memory, by the smallest limit that holds."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import psutil

from mnistbench.schema.errors import InputError
from mnistbench.schema.whole_number import whole_number

SHARED_CORES = "MNISTBENCH_SHARED_CORES"
"""Variable by which who starts several runs side by side says so: 1."""

_ROOT = Path("/")
_TOO_LITTLE = re.compile(r"MemoryError|bad_alloc|failed to map segment|Cannot allocate memory")


def usable_cores(root: Path = _ROOT) -> int:
    """Cores this process may use: affinity and quotas of its cgroups respected, at least 1.

    A quota of a part of a core counts as all of it. `root` is where ``/proc`` and ``/sys`` lie.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min([cores or 1, *_limits(root, "cpu", _cores)]))


def memory_bytes(root: Path = _ROOT) -> int:
    """Memory this process may use: that of the machine, or less where a cgroup is given less."""
    return min([psutil.virtual_memory().total, *_limits(root, "memory", _memory)])


def check_torch_fits() -> None:
    """See whether torch can be imported in what ``ulimit -v`` leaves, where it is set.

    A library that gets no memory while it is loaded aborts its process: another one tries.

    Raises:
        InputError: it cannot.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return
    command = [sys.executable, "-P", "-c", "import torch, accelerate"]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        fails = tried.returncode != 0 and bool(_TOO_LITTLE.search(tried.stderr))
    except (OSError, MemoryError):
        fails = True
    if fails:
        raise InputError(
            f"not enough memory to import torch: `ulimit -v` leaves {limit / 2**30:.1f} GiB of "
            "addresses; raise it, as by `ulimit -v unlimited`"
        )


def _limits(root: Path, controller: str, read: Callable[[Path], int | None]) -> Iterator[int]:
    """What `read` finds in the groups that this process is in, and in those around them."""
    for folder in _groups(root, controller):
        with suppress(OSError, ValueError):  # what cannot be read limits nothing
            if limit := read(folder):
                yield limit


def _cores(group: Path) -> int | None:
    both = group / "cpu.max"
    v1 = (group / "cpu.cfs_quota_us", group / "cpu.cfs_period_us")
    told = both.read_text() if both.exists() else " ".join(file.read_text() for file in v1)
    quota, period = (whole_number(word, lowest=1, highest=2**63) for word in told.split())
    return -(-quota // period) if quota and period else None


def _memory(group: Path) -> int | None:
    v2, v1 = group / "memory.max", group / "memory.limit_in_bytes"
    return whole_number((v2 if v2.exists() else v1).read_text().strip(), highest=2**64)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's groups, of both versions of cgroups, and of all around them.

    A container may see its own group where groups begin, under the name that it has outside.
    """
    own = [line.split(":", 2) for line in _lines(root / "proc/self/cgroup")]
    for begin, seen, is_v1 in _mounts(root, controller):
        yield begin
        for _, names, path in (parts for parts in own if len(parts) == 3):
            right = controller in names.split(",") if is_v1 else not names
            if right and PurePosixPath(path).is_relative_to(seen):
                parts = PurePosixPath(path).relative_to(seen).parts
                yield from (begin.joinpath(*parts[: n + 1]) for n in range(len(parts)))


def _mounts(root: Path, controller: str) -> Iterator[tuple[Path, str, bool]]:
    """Where groups begin, as what they are seen there, and whether by version 1."""
    usual = root / "sys/fs/cgroup"
    yield from ((usual, "/", False), (usual / controller, "/", True))
    for line in _lines(root / "proc/self/mountinfo"):
        mount, kind = (part.split(" ") for part in line.partition(" - ")[::2])
        is_v1 = kind[0] == "cgroup" and controller in kind[-1].split(",")
        if len(mount) > 4 and (is_v1 or kind[0] == "cgroup2"):
            yield root / mount[4].lstrip("/"), mount[3], is_v1


def _lines(file: Path) -> list[str]:
    with suppress(OSError):
        return file.read_text(errors="replace").splitlines()
    return []
