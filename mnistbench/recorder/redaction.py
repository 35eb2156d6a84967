"""What is left of a text when it may name neither this machine nor its user."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Iterator

__all__ = ["redacted"]

_ABSOLUTE_PATH = re.compile(r"(?<![\w.])~?/(?:[^\s/:;,'\"()]+/)+")


def redacted(text: str) -> str:
    """`text` with folders cut off absolute paths, and without names of host and user."""
    text = _ABSOLUTE_PATH.sub("…/", text)
    for name in _names():
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "…", text)
    return text


def _names() -> Iterator[str]:
    host = socket.gethostname()
    yield from filter(None, (host, host.partition(".")[0]))
    try:
        yield getpass.getuser()
    except (OSError, KeyError):  # a user without a name
        return
