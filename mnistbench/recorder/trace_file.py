"""Chrome traces as torch's profiler writes them: read back whole, and names taken out."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mnistbench.recorder.redaction import redacted

__all__ = ["exported", "without_names"]


def exported(export: Callable[[str], object]) -> Any:
    """The trace that `export` writes to a file, which nobody else sees, and goes.

    Raises:
        OSError: it is not whole, as on a full disk, of which torch does not tell.
    """
    with TemporaryDirectory(prefix="mnistbench-") as folder:
        path = Path(folder) / "trace.json"
        export(str(path))
        try:
            return json.loads(path.read_bytes())
        except ValueError:
            raise OSError(errno.ENOSPC, "not written whole; make room", folder) from None


def without_names(trace: Any) -> Any:
    """`trace` without the names of host and user, and without folders."""
    cut = lru_cache(maxsize=None)(redacted)  # it says the same things many times

    def cleaned(value: Any) -> Any:
        if isinstance(value, str):
            return cut(value)
        if isinstance(value, list):
            return [cleaned(one) for one in value]
        if isinstance(value, dict):
            return {cut(key): cleaned(one) for key, one in value.items()}
        return value

    return cleaned(trace)
