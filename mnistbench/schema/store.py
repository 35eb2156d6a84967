"""Reading and writing records: one is saved whole or not at all, one or many are read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mnistbench.schema.errors import InputError
from mnistbench.schema.files import write_whole
from mnistbench.schema.record import PHASES, SCHEMA_VERSION, RunRecord
from mnistbench.schema.strict_json import read_versioned, shaped

__all__ = [
    "RECORD_NAME",
    "Loaded",
    "find_records",
    "left_out_note",
    "load_record",
    "load_records",
    "record_json",
    "save_record",
    "search",
]

RECORD_NAME = "record.json"
_MAX_RECORD_BYTES = 64 * 2**20
_MOST_NAMED = 3


class Found(NamedTuple):
    """Where records lie, and of each folder that could not be searched its path and why not."""

    paths: list[Path]
    unsearched: list[str]


class Loaded(NamedTuple):
    """The records that could be read, and of each other one its path and why not.

    `unsearched` is as in `Found`.
    """

    records: list[RunRecord]
    skipped: list[str]
    unsearched: Sequence[str] = ()

    @property
    def note(self) -> str:
        """One sentence on those that could not; empty where all could."""
        of = len(self.records) + len(self.skipped)
        return left_out_note(self.skipped, of=of, unsearched=self.unsearched)


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


def load_record(path: Path) -> RunRecord:
    """Read one record. Keys that a newer release added are passed over; all else is strict.

    Raises:
        InputError: not readable, too large, not strict JSON, of a newer schema, or of wrong shape.
    """
    what = "a record"
    values = read_versioned(path, what=what, newest=SCHEMA_VERSION, max_bytes=_MAX_RECORD_BYTES)
    values = _with_known_phases(values)
    return shaped(values, RunRecord, path=path, what=what, unknown_keys="ignore")


def _with_known_phases(values: dict[str, Any]) -> dict[str, Any]:
    """Seconds of phases that a newer release added count as ``other``: the sum stays the same."""
    phases = values.get("phases_s")
    if not isinstance(phases, dict) or not phases.keys() - set(PHASES):
        return values
    unknown = [seconds for name, seconds in phases.items() if name not in PHASES]
    parts = [phases.get("other", 0.0), *unknown]
    if not all(type(part) in {int, float} for part in parts):
        return values  # refused by its shape
    known = {name: seconds for name, seconds in phases.items() if name in PHASES}
    return values | {"phases_s": known | {"other": float(sum(parts))}}


def load_records(paths: Iterable[Path], *, strict: bool = False) -> Loaded:
    """Read every record among `paths`: files as named, folders searched all the way down.

    One that cannot be read is passed over where it was found in a folder; one that was named
    itself is an error, and with `strict` any, as is then a folder that cannot be searched.

    Raises:
        InputError: as `find_records`; a record that was asked for cannot be read, or none can.
    """
    paths = list(paths)
    records: list[RunRecord] = []
    skipped: list[str] = []
    found, unsearched = _found(paths)
    if strict and unsearched:
        raise InputError(unsearched[0])
    for path in found:
        try:
            records.append(load_record(path))
        except InputError as error:
            if strict or path in paths:
                raise
            skipped.append(str(error))
    if skipped and not records:
        several = f"none of {len(skipped)} records could be read: "
        raise InputError((several if len(skipped) > 1 else "") + skipped[0])
    return Loaded(records, skipped, unsearched)


def left_out_note(skipped: Sequence[str], *, of: int, unsearched: Sequence[str] = ()) -> str:
    """One sentence on records that could not be read, and folders that could not be searched.

    Args:
        skipped: of each its path and why, as the error says it.
        of: how many there are, with those that could be read.
        unsearched: as `skipped`, of folders.
    """
    folders = "folder" if len(unsearched) == 1 else "folders"
    told = [
        _left_out(skipped, f"of {of} records could not be read"),
        _left_out(unsearched, f"{folders} could not be searched"),
    ]
    return "; ".join(filter(None, told))


def _left_out(reasons: Sequence[str], what: str) -> str:
    if not reasons:
        return ""
    more = len(reasons) - _MOST_NAMED
    told = "; ".join([*reasons[:_MOST_NAMED], *([f"and {more} more"] if more > 0 else [])])
    return f"{len(reasons)} {what} and {'is' if len(reasons) == 1 else 'are'} left out: {told}"


def find_records(paths: Iterable[Path]) -> list[Path]:
    """Every ``record.json`` among `paths`: files as named, folders by `search`.

    Raises:
        InputError: a path does not exist or may not be read, or a folder holds no record.
    """
    return _found(paths).paths


def _found(paths: Iterable[Path]) -> Found:
    found = Found([], [])
    for path in paths:
        try:
            inside = search(path) if path.is_dir() else Found([path], [])
            if not (path.exists() or path.is_symlink()):
                raise InputError(f"{path}: does not exist")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        if not inside.paths:
            nothing = f"{path}: no {RECORD_NAME} in this folder; make a run first"
            raise InputError(next(iter(inside.unsearched), nothing))
        found.paths.extend(inside.paths)
        found.unsearched.extend(inside.unsearched)
    return Found(list(dict.fromkeys(found.paths)), list(dict.fromkeys(found.unsearched)))


def search(folder: Path) -> Found:
    """Every ``record.json`` in `folder` and below, in the order of their paths.

    Links are followed. However many lead there, each folder and each file is taken once, and by its
    own name rather than by a link's. What leads nowhere inside a run's folder is no lost run.
    """
    return _Search(folder)()


class _Search:
    def __init__(self, folder: Path) -> None:
        self._own, self._linked = [(folder, False)], list[tuple[Path, bool]]()
        self._records, self._linked_records = list[Path](), list[Path]()
        self._unsearched: list[str] = []
        self._seen: set[tuple[int, int]] = set()

    def __call__(self) -> Found:
        while waiting := self._own or self._linked:
            folder, in_run = waiting.pop()
            try:
                self._look(folder, in_run)
            except OSError as error:
                self._unsearched.append(f"{folder}: cannot be read ({error.strerror})")
        for path in self._linked_records:
            with suppress(OSError):  # where it leads nowhere, who loads it says so
                found = path.stat()
                if not self._is_new(found.st_dev, found.st_ino):
                    continue
            self._records.append(path)
        in_order = sorted(self._records, key=lambda path: path.parts)
        return Found(in_order, sorted(self._unsearched))

    def _look(self, folder: Path, in_run: bool) -> None:
        found = folder.stat()
        if not self._is_new(found.st_dev, found.st_ino):
            return
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name, reverse=True)
        in_run = in_run or any(entry.name == RECORD_NAME for entry in entries)
        for entry in entries:
            is_link = entry.is_symlink()
            if entry.name == RECORD_NAME and is_link:
                self._linked_records.append(Path(entry.path))
            elif entry.name == RECORD_NAME and self._is_new(found.st_dev, entry.inode()):
                self._records.append(Path(entry.path))
            if is_link and _may_hold_records(entry, in_run=in_run):
                self._linked.append((Path(entry.path), in_run))
            elif not is_link and entry.is_dir():
                self._own.append((Path(entry.path), in_run))

    def _is_new(self, device: int, inode: int) -> bool:
        is_new = (device, inode) not in self._seen
        self._seen.add((device, inode))
        return is_new


def _may_hold_records(link: os.DirEntry[str], *, in_run: bool) -> bool:
    """Whether `link` leads to a folder or, outside of a run's folder, nowhere."""
    try:
        return link.is_dir() or not (in_run or link.is_file())
    except OSError:  # what may not be looked at is one that cannot be read
        return True
