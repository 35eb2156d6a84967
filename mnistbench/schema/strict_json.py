"""Files of strict JSON: read with one-line refusals, written whole or not at all."""

from __future__ import annotations

import json
import os
import reprlib
from pathlib import Path
from secrets import token_hex
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from mnistbench.schema.errors import InputError, one_line

__all__ = ["load_versioned", "read_json", "write_whole"]

T = TypeVar("T", bound=BaseModel)


def read_json(path: Path, *, max_bytes: int, what: str) -> Any:
    """What the file at `path` holds; `what` names it with its article, such as "a record".

    Raises:
        InputError: not readable, above `max_bytes`, nested too deeply, or not strict JSON (which
            has neither NaN nor infinities).
    """
    try:
        if path.stat().st_size > max_bytes:
            raise InputError(f"{path}: too large for {what}")
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply for {what}") from None
    except ValueError as error:  # JSON and UTF-8 errors are ValueErrors, and so is InputError
        raise (
            error if isinstance(error, InputError) else InputError(f"{path}: not {what}: {error}")
        ) from None


def load_versioned(path: Path, shape: type[T], *, what: str, newest: int, max_bytes: int) -> T:
    """The file at `path` as a `shape`, whose ``schema_version`` this version reads up to `newest`.

    Raises:
        InputError: as `read_json`, or of a newer schema, or of another shape, such as with a key
            that this version does not know.
    """
    values = read_json(path, max_bytes=max_bytes, what=what)
    if not isinstance(values, dict) or not isinstance(values.get("schema_version"), int):
        raise InputError(f"{path}: not {what}: no schema_version")
    if values["schema_version"] > newest:
        raise InputError(
            f"{path}: schema {values['schema_version']} is newer than this version reads "
            f"({newest}); upgrade mnistbench"
        )
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {_refusal(error, what)}") from None


def write_whole(path: Path, text: str) -> None:
    """Write `text` to `path`, all of it or nothing; its folder is made.

    Raises:
        InputError: the folder or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.stem}-{token_hex(4)}")
        try:
            with aside.open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def _refusal(error: ValidationError, what: str) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] != "extra_forbidden":
        return f"not {what}: {one_line(error)}"
    key = reprlib.repr(".".join(map(str, first["loc"])))
    return f"unknown key {key}; written by a newer mnistbench? upgrade"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not strict JSON")
