"""Text of files that others may have made: never more of it than was asked for."""

from __future__ import annotations

import stat
from pathlib import Path

from mnistbench.schema.errors import InputError

__all__ = ["MAX_DEPTH", "read_text"]

MAX_DEPTH = 32
"""Levels of lists and mappings in a file: several times what any file of this package has."""

_MOST_FILES = 2**20
"""Bytes that most files have fewer of."""


def read_text(path: Path, *, max_bytes: int, what: str) -> str:
    """What the file at `path` holds; `what` names it with its article, such as "a record".

    Raises:
        InputError: it cannot be read, is a pipe or a device, is above `max_bytes`, or not UTF-8.
    """
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # one may wait for ever to open a pipe
            raise InputError(f"{path}: cannot be read (no regular file); copy it to one")
        with path.open("rb") as file:
            content = file.read(min(max_bytes + 1, _MOST_FILES))
            if len(content) == _MOST_FILES:  # room for the largest would cost each file its time
                content += file.read(max_bytes + 1 - _MOST_FILES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) > max_bytes:
        raise InputError(f"{path}: too large for {what}, which has {max_bytes:,} bytes at most")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        at = f"byte {error.start} is no UTF-8"
        raise InputError(f"{path}: not {what}: not a text file ({at})") from None
