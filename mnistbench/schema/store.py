"""Reading and writing what `mnistbench.schema` declares: atomic save, strict load."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from mnistbench.schema.errors import InputError
from mnistbench.schema.record import SCHEMA_VERSION, RunRecord
from mnistbench.schema.strict_json import load_versioned, write_whole

__all__ = [
    "RECORD_NAME",
    "check_writable",
    "find_records",
    "load_record",
    "record_json",
    "save_record",
]

RECORD_NAME = "record.json"
_MAX_RECORD_BYTES = 64 * 2**20


def record_json(record: RunRecord) -> str:
    """`record` as strict JSON text (no NaN), one key per line."""
    return json.dumps(record.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"


def save_record(record: RunRecord, folder: Path) -> Path:
    """Write `record` to ``folder/record.json``, whole or not at all; `folder` is made.

    A run that went on takes the place of its own record of when it was stopped.

    Raises:
        InputError: another record lies there already, or the folder cannot be written.
    """
    path = folder / RECORD_NAME
    if path.exists() and not _went_on(load_record(path), record):
        raise InputError(f"{path}: already holds a record; choose another --output-dir")
    write_whole(path, record_json(record))
    return path


def _went_on(before: RunRecord, record: RunRecord) -> bool:
    same = before.run_id == record.run_id and record.interruptions
    return bool(same) and before.status in {"interrupted", "failed"}


def check_writable(folder: Path, *, name: str = "output_dir") -> None:
    """Check, without writing, that `folder` could be made or written into.

    Raises:
        InputError: something on the way is a file or may not be written; `name` is the option's.
    """
    existing = folder
    # os.access, for Path.exists raises where a folder on the way may not be entered
    while not os.access(existing, os.F_OK) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"{name}: {existing} is not a folder; choose another")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"{name}: no right to write in {existing}; choose another")


def load_record(path: Path) -> RunRecord:
    """Read one record strictly.

    Raises:
        InputError: not readable, too large, not strict JSON, of a newer schema, or of wrong shape.
    """
    return load_versioned(
        path, RunRecord, what="a record", newest=SCHEMA_VERSION, max_bytes=_MAX_RECORD_BYTES
    )


def find_records(paths: Iterable[Path]) -> list[Path]:
    """Every ``record.json`` among `paths`: files as named, folders searched all the way down.

    Raises:
        InputError: a path does not exist or may not be read, or a folder holds no record.
    """
    found: list[Path] = []
    for path in paths:
        try:
            found.extend(_records_at(path))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return list(dict.fromkeys(found))


def _records_at(path: Path) -> list[Path]:
    if path.is_dir():
        inside = sorted(path.rglob(RECORD_NAME))
        if not inside:
            raise InputError(f"{path}: no {RECORD_NAME} in this folder; make a run first")
        return inside
    if not path.exists():
        raise InputError(f"{path}: does not exist")
    return [path]
