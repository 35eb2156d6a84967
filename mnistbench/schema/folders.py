"""Where what is kept between runs lies: data sets, checkouts, environments."""

from __future__ import annotations

import os
from pathlib import Path

from mnistbench.schema.errors import InputError

__all__ = ["cache_folder"]


def cache_folder(*, otherwise: str) -> Path:
    """``mnistbench`` in the user's cache folder: ``$XDG_CACHE_HOME``, else ``~/.cache``.

    Raises:
        InputError: there is no home folder; it ends with what to do `otherwise`.
    """
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache).absolute() / "mnistbench"
    try:
        return Path.home() / ".cache" / "mnistbench"
    except RuntimeError:
        raise InputError(f"no home folder to keep anything in; {otherwise}") from None
