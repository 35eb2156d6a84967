"""Reading and writing what `mnistbench.schema` declares: atomic save, strict load."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from mnistbench.schema.errors import InputError, one_line
from mnistbench.schema.record import SCHEMA_VERSION, RunRecord

__all__ = ["check_writable", "find_records", "load_record", "record_json", "save_record"]

RECORD_NAME = "record.json"
_MAX_RECORD_BYTES = 64 * 2**20


def record_json(record: RunRecord) -> str:
    """`record` as strict JSON text (no NaN), one key per line."""
    return json.dumps(record.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"


def save_record(record: RunRecord, folder: Path) -> Path:
    """Write `record` to ``folder/record.json``, whole or not at all; `folder` is made.

    Raises:
        InputError: a record lies there already, or the folder cannot be written.
    """
    path = folder / RECORD_NAME
    if path.exists():
        raise InputError(f"{path}: already holds a record; choose another --output-dir")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".record-", dir=folder)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(record_json(record))
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    return path


def check_writable(folder: Path) -> None:
    """Check, without writing, that `folder` could be made or written into.

    Raises:
        InputError: something on the way is a file or may not be written.
    """
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"output_dir: {existing} is not a folder; choose another --output-dir")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"output_dir: no right to write in {existing}; choose another")


def load_record(path: Path) -> RunRecord:
    """Read one record strictly.

    Raises:
        InputError: not readable, too large, not strict JSON, of a newer schema, or of wrong shape.
    """
    try:
        if path.stat().st_size > _MAX_RECORD_BYTES:
            raise InputError(f"{path}: too large for a record")
        values = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply for a record") from None
    except ValueError as error:  # JSON and UTF-8 errors are ValueErrors, and so is InputError
        raise (
            error if isinstance(error, InputError) else InputError(f"{path}: not a record: {error}")
        ) from None
    return _validate(values, path)


def find_records(paths: Iterable[Path]) -> list[Path]:
    """Every ``record.json`` among `paths`: files as named, folders searched all the way down.

    Raises:
        InputError: a path does not exist, or a folder holds no record.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(path.rglob(RECORD_NAME))
            if not inside:
                raise InputError(f"{path}: no {RECORD_NAME} in this folder; make a run first")
            found.extend(inside)
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"{path}: does not exist")
    return list(dict.fromkeys(found))


def _validate(values: Any, path: Path) -> RunRecord:
    if not isinstance(values, dict) or not isinstance(values.get("schema_version"), int):
        raise InputError(f"{path}: not a record: no schema_version")
    if values["schema_version"] > SCHEMA_VERSION:
        raise InputError(
            f"{path}: schema {values['schema_version']} is newer than this version reads "
            f"({SCHEMA_VERSION}); upgrade mnistbench"
        )
    try:
        return RunRecord.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: not a record: {one_line(error)}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not strict JSON")
