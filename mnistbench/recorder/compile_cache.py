"""Where PyTorch keeps what it compiles, so that the next run finds it there."""

from __future__ import annotations

import hashlib
import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mnistbench.schema.errors import InputError
from mnistbench.schema.folders import cache_folder
from mnistbench.schema.store import check_writable

__all__ = ["keep_compiled"]

_CPUINFO = Path("/proc/cpuinfo")
_TELLS_CPUS_APART = ("cpu family", "model", "flags", "Features", "CPU ", "isa")


def keep_compiled() -> None:
    """Have this process and its children keep compiled steps in the user's cache folder.

    PyTorch's own place is a temporary folder, which a reboot empties. It compiles for the very
    processor (``-march=native``), but what it finds there it takes, wherever that was compiled; and
    homes are shared, or move from machine to machine. So each kind of processor and each version of
    torch has a folder of its own. A run that compiles something new adds about 2 MB.

    ``TORCHINDUCTOR_CACHE_DIR`` wins where it is set; without a home that can be written to,
    PyTorch's place stays. To be called before anything is compiled; imports no torch.
    """
    with suppress(InputError, PackageNotFoundError):
        kept = cache_folder(otherwise="keep nothing") / "compiled"
        check_writable(kept)
        folder = kept / f"torch-{version('torch')}-{_processor()}"
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


def _processor() -> str:
    """Eight hexadecimal digits that are the same for processors with the same instructions."""
    told = platform.machine() + platform.processor()
    if _CPUINFO.exists():
        lines = _CPUINFO.read_text().splitlines()
        told += "\n".join(sorted({line for line in lines if line.startswith(_TELLS_CPUS_APART)}))
    return hashlib.sha256(told.encode()).hexdigest()[:8]
