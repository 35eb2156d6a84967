"""What a user tells of a run, as JSON holds it: secrets are not written, odd values by their repr.

The same configuration gives the same text in each run: no address in memory stays in it.
"""

from __future__ import annotations

import enum
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any

from mnistbench.schema.errors import InputError

NOT_WRITTEN = "not written: its key names a secret"
"""Stands for the value of a key such as ``api_key``."""

_SECRET = {
    *("apikey", "auth", "authorization", "credential", "key", "passphrase", "passwd"),
    *("password", "pwd", "secret", "token"),
}
_ENDINGS = ("token", "password", "passcode", "secret", "apikey", "accesskey", "secretkey")
"""What such a word may end in where nothing is between its parts: ``hftoken``."""
_IN_TEXT = re.compile(
    r"""(--[\w-]+\s+|[\w-]+=['"]?|['"][\w-]+['"]:\s*['"]?|\bBearer\s+|\w://[^\s/@:]*:)"""
    r"""([^\s'",;)}\]@]+)"""
)
_NUMBER_IN_TEXT = re.compile(r"[\d.e+-]+|None|True|False")
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_DEEPEST = 8
_LONGEST_TEXT = 10_000
_MOST_BYTES = 2**20


def plain_values(values: Mapping[Any, Any], *, field: str) -> tuple[dict[str, Any], list[str]]:
    """`values` as JSON holds them, and the keys of those that only their repr stands for.

    Raises:
        InputError: `values` is no mapping, or has more than 1 MiB; it begins with `field`.
    """
    if not isinstance(values, Mapping):
        kind = type(values).__name__
        raise InputError(f"{field}: should be a mapping, such as vars(args) (got {kind})")
    by_repr: list[str] = []
    plain = _mapping(values, "", by_repr)
    if len(json.dumps(plain)) > _MOST_BYTES:
        raise InputError(f"{field}: has more than 1 MiB as JSON; leave out what is data")
    return plain, by_repr


def _mapping(
    values: Mapping[Any, Any], path: str, by_repr: list[str], *, secret: bool = False
) -> dict[str, Any]:
    plain = {}
    for key, value in values.items():
        name = _text(str(key))
        hidden = secret or is_secret(name)
        plain[name] = _plain(value, f"{path}{name}", by_repr, secret=hidden)
    return plain


def _plain(value: Any, path: str, by_repr: list[str], *, secret: bool) -> Any:
    if isinstance(value, enum.Enum):
        value = value.value
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name, None) for field in fields(value)}
    if value is None or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, Mapping | list | tuple) and path.count(".") < _DEEPEST:
        if isinstance(value, Mapping):
            return _mapping(value, f"{path}.", by_repr, secret=secret)
        return [
            _plain(one, f"{path}.{place}", by_repr, secret=secret)
            for place, one in enumerate(value)
        ]
    return NOT_WRITTEN if secret else _scalar(value, path, by_repr)


def _scalar(value: Any, path: str, by_repr: list[str]) -> Any:
    if isinstance(value, str | PurePath):
        return _text(str(value))
    if (number := _number(value)) is not None:
        return number
    by_repr.append(path)
    try:
        return _text(_ADDRESS.sub("", repr(value)))
    except Exception:  # an object of the user's own may raise anything
        return f"<{type(value).__name__}>"


def is_secret(name: str) -> bool:
    """Whether a word of `name` is that of a secret: ``hf_token``, ``apiKey``, not ``tokenizer``."""
    words = {word.lower() for word in _WORDS.findall(name)}
    singular = {word.removesuffix("s") for word in words}
    is_one = any(word.endswith(_ENDINGS) for word in singular)
    return is_one or not _SECRET.isdisjoint(words | singular)


def without_secrets(text: str) -> str:
    """`text` with … for secrets that it names: ``--hf-token x``, ``token='x'``, ``//me:x@host``."""

    def hidden(found: re.Match[str]) -> str:
        before, value = found.groups()
        is_url = "://" in before
        named = text.startswith("@", found.end()) if is_url else is_secret(before)
        is_told = before.startswith("Bearer") or named
        return before + "…" if is_told and not _NUMBER_IN_TEXT.fullmatch(value) else found[0]

    return _IN_TEXT.sub(hidden, text)


def _number(value: Any) -> int | float | None:
    """What a scalar of an array library holds."""
    if getattr(value, "shape", None) != () or not hasattr(value, "item"):
        return None
    number = value.item()
    is_number = isinstance(number, int | float) and math.isfinite(number)
    return number if is_number else None


def _text(text: str) -> str:
    """`text` as a file holds it; of a long one the beginning, and a hash of all."""
    whole = without_secrets(text).encode(errors="backslashreplace")
    if len(whole) > _LONGEST_TEXT:
        digest = hashlib.sha256(whole).hexdigest()[:12]
        return f"{whole[:200].decode(errors='ignore')}… ({len(whole)} bytes, sha256 {digest})"
    return whole.decode()
