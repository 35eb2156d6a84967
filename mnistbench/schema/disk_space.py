"""How much of a disk files and folders take, and where a command wrote what."""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path

from mnistbench.schema.streams import say


def say_written(what: str, path: Path) -> None:
    """Tell on stderr where `what` was written, and its size."""
    say(f"{what} written to {path} ({size_text(disk_use(path))})")


def disk_use(path: Path) -> int:
    """Size of a file, or of all files below a folder; links are not followed [bytes]."""
    total = 0
    for one in (path, *path.rglob("*")):
        with suppress(OSError):  # it has gone meanwhile
            found = one.lstat()
            total += 0 if stat.S_ISDIR(found.st_mode) else found.st_size
    return total


def size_text(num_bytes: float) -> str:
    """``412 kB``, ``1.6 MB``: powers of 1,000."""
    for unit in ("bytes", "kB", "MB"):
        if num_bytes < 999.5:
            return f"{num_bytes:.2g} {unit}" if num_bytes < 9.95 else f"{num_bytes:.0f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} GB"
