"""What is left of a text when it may name neither this machine nor its user."""

from __future__ import annotations

import getpass
import os
import platform
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["redacted"]

_ABSOLUTE_PATH = re.compile(r"(?<![\w.])~?/(?:[^\s/:;,'\"()]+/)+")
_LETTER = r"[^\W_]"
"""What a name is not beside: of ``host_1`` the host is a part, of ``hosts`` it is none."""


def redacted(text: str) -> str:
    """`text` with folders cut off absolute paths, and without names of host, user and home."""
    for home in _each(_home, lambda: str(Path(_home()).resolve())):
        text = re.sub(rf"{re.escape(home)}(?!{_LETTER})", "~", text)
    text = _ABSOLUTE_PATH.sub("…/", text)
    hosts = set(_each(socket.gethostname, platform.node))
    names = {*hosts, *(host.partition(".")[0] for host in hosts), *_each(getpass.getuser, _account)}
    for name in sorted(names - {""}, key=len, reverse=True):
        text = re.sub(rf"(?<!{_LETTER}){re.escape(name)}(?!{_LETTER})", "…", text)
    return text


def _home() -> str:
    home = str(Path.home())
    return home if home != "/" else ""


def _account() -> str:
    """The user's name as the system has it, which variables may hide."""
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def _each(*tellers: Callable[[], str]) -> Iterator[str]:
    """What those tell that know."""
    for tell in tellers:
        with suppress(OSError, KeyError, RuntimeError, ImportError, AttributeError):
            if told := tell():
                yield told
