"""Files of strict JSON, read with one-line refusals."""

from __future__ import annotations

import json
import math
import reprlib
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from mnistbench.schema.errors import InputError, one_line
from mnistbench.schema.files import MAX_DEPTH, read_text

T = TypeVar("T", bound=BaseModel)

_MOST_DIGITS = 20
_LEAST, _LARGEST = {int: -(2**63), float: -1e100}, {int: 2**64 - 1, float: 1e100}
"""What is squared and summed over is finite still; float32 ends at 3.4e38."""


def read_json(path: Path, *, max_bytes: int, what: str) -> Any:
    """What the file at `path` holds; `what` names it with its article, such as "a record".

    Raises:
        InputError: as `read_text`, or nested more than `MAX_DEPTH` deep, or not strict JSON: with
            NaN, an infinity or a number too large to reckon with (beyond 1e100, or whole and of
            more than 64 bits), or with a key twice in one object.
    """
    text = read_text(path, max_bytes=max_bytes, what=what)
    if not text.strip():
        raise InputError(f"{path}: not {what}: the file is empty")
    try:
        with suppress(ValueError):  # by a parser that is fast, but says less of what it refuses
            value = from_json(text, allow_inf_nan=False)
            # of a key that is there twice it has one value; a colon may be spelled by its number
            if _colons(value) == text.count(":") and "\\" not in text:
                return value
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=partial(_bounded, kind=float),
            parse_int=partial(_bounded, kind=int),
            object_pairs_hook=_each_once,
        )
        _colons(value)
    except RecursionError:
        deepest = f"{MAX_DEPTH} levels at most"
        raise InputError(f"{path}: nested too deeply for {what}: {deepest}") from None
    except ValueError as error:
        raise InputError(f"{path}: not {what}: {error}") from None
    return value


def load_versioned(path: Path, shape: type[T], *, what: str, newest: int, max_bytes: int) -> T:
    """The file at `path` as a `shape`, whose ``schema_version`` this version reads up to `newest`.

    Raises:
        InputError: as `read_json`, or of a newer schema, or of another shape, such as with a key
            that this version does not know.
    """
    values = read_versioned(path, what=what, newest=newest, max_bytes=max_bytes)
    return shaped(values, shape, path=path, what=what)


def read_versioned(path: Path, *, what: str, newest: int, max_bytes: int) -> dict[str, Any]:
    """What the file at `path` holds, of a ``schema_version`` that this version reads.

    Raises:
        InputError: as `read_json`, or of a newer schema, or of none.
    """
    values = read_json(path, max_bytes=max_bytes, what=what)
    if not isinstance(values, dict) or not isinstance(values.get("schema_version"), int):
        raise InputError(f"{path}: not {what}: no schema_version")
    if values["schema_version"] > newest:
        raise InputError(
            f"{path}: schema {values['schema_version']} is newer than this version reads "
            f"({newest}); upgrade mnistbench"
        )
    return values


def shaped(
    values: Mapping[str, Any],
    shape: type[T],
    *,
    path: Path,
    what: str,
    unknown_keys: Literal["forbid", "ignore"] = "forbid",
) -> T:
    """`values`, read from `path`, as a `shape`; `unknown_keys` is of keys at any depth.

    Raises:
        InputError: they have another shape, or a key that this version does not know.
    """
    try:
        return shape.model_validate(values, extra=unknown_keys)
    except ValidationError as error:
        raise InputError(f"{path}: {_refusal(error, what)}") from None


def _refusal(error: ValidationError, what: str) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] not in {"extra_forbidden", "unexpected_keyword_argument"}:
        return f"not {what}: {one_line(error)}"
    key = reprlib.repr(".".join(map(str, first["loc"])))
    return f"unknown key {key}; written by a newer mnistbench? upgrade"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not strict JSON")


def _bounded(text: str, kind: type[float]) -> float:
    # int has no end, but what is worked out from such numbers has, and so has their text
    value = kind(text) if kind is float or len(text) <= _MOST_DIGITS else math.inf
    if not _LEAST[kind] <= value <= _LARGEST[kind]:
        raise ValueError(f"{reprlib.repr(text)} is too large a number")
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"key {reprlib.repr(counts.most_common(1)[0][0])} is there twice")
    return values


def _colons(value: Any) -> int:
    """How many colons `value` has as JSON, without those in keys.

    Raises:
        ValueError: it holds a number that is too large.
        RecursionError: it is nested too deeply; json tells only where it is much deeper.
    """
    level, colons = [[value]], 0
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        for part in level:
            colons += len(part) if isinstance(part, dict) else 0
            for one in part.values() if isinstance(part, dict) else part:
                kind = type(one)
                if kind is float or kind is int:
                    if not _LEAST[kind] <= one <= _LARGEST[kind]:
                        raise ValueError("a number is too large")
                elif kind is str:
                    colons += one.count(":")
                elif kind is dict or kind is list:
                    inner.append(one)
        if not inner:
            return colons
        level = inner
    raise RecursionError
