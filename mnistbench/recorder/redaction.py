"""What is left of a text when it may name neither this machine nor its user."""

from __future__ import annotations

import getpass
import platform
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

from mnistbench.schema.component import ARGUMENTS_OF, is_own
from mnistbench.schema.provenance import Component

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


def place_redacted(named: str) -> str:
    """A file or data as a configuration names it, `redacted`; a module stays as it is."""
    place, colon, attribute = named.rpartition(":")
    if not is_own(named) or (colon and not place.endswith(".py")):
        return named
    return redacted(place) + colon + attribute if colon else redacted(named)


def values_redacted(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config`, as JSON holds one, with what users bring, and its arguments, `redacted`."""
    places = {name: place_redacted(config[name]) for name in get_args(Component) if name in config}
    arguments = {name: _within(config[name]) for name in ARGUMENTS_OF.values() if name in config}
    return {**config, **places, **arguments}


def _within(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _within(its) for name, its in value.items()}
    if isinstance(value, list):
        return [_within(its) for its in value]
    return redacted(value) if isinstance(value, str) else value


def _names() -> Iterator[str]:
    for host in (socket.gethostname(), platform.node()):  # trackers are told another
        yield from filter(None, (host, host.partition(".")[0]))
    try:
        yield getpass.getuser()
    except (OSError, KeyError):  # a user without a name
        return
