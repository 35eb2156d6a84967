"""What is left of a text when it may name neither this machine nor its user."""

from __future__ import annotations

import getpass
import platform
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["redacted"]

_ABSOLUTE_PATH = re.compile(r"(?<![\w.])~?/(?:[^\s/:;,'\"()]+/)+")
_LETTER = r"[^\W_]"
"""What a name is not beside: of ``host_1`` the host is a part, of ``hosts`` it is none."""


def redacted(text: str) -> str:
    """`text` with folders cut off absolute paths, and without names of host, user and home."""
    home = Path("~")
    with suppress(RuntimeError):  # without one
        home = home.expanduser()
    for folder in {str(home), str(home.resolve())} - {"/", "~"}:
        text = re.sub(rf"{re.escape(folder)}(?!{_LETTER})", "~", text)
    text = _ABSOLUTE_PATH.sub("…/", text)
    for name in _names():
        text = re.sub(rf"(?<!{_LETTER}){re.escape(name)}(?!{_LETTER})", "…", text)
    return text


def _names() -> Iterator[str]:
    for host in (socket.gethostname(), platform.node()):  # trackers are told another
        yield from filter(None, (host, host.partition(".")[0]))
    try:
        yield getpass.getuser()
    except (OSError, KeyError):  # a user without a name
        return
