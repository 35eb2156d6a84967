"""Reading and writing records: one is saved whole or not at all, one or many are read."""

from __future__ import annotations

import gc
import json
import os
import stat
from collections import deque
from collections.abc import Iterable, Sequence
from operator import attrgetter
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

from mnistbench.schema.errors import InputError
from mnistbench.schema.files import write_whole
from mnistbench.schema.record import SCHEMA_VERSION, RunRecord
from mnistbench.schema.strict_json import read_versioned, shaped

RECORD_NAME = "record.json"
_MAX_RECORD_BYTES = 64 * 2**20
_MOST_NAMED = 3
_BY_NAME = attrgetter("name")


class Loaded(NamedTuple):
    """The records that could be read, and of each other one its path and why not."""

    records: list[RunRecord]
    skipped: list[str]

    @property
    def note(self) -> str:
        """One sentence on those that could not; empty where all could."""
        return left_out_note(self.skipped, of=len(self.records) + len(self.skipped))


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
    if os.access(path, os.F_OK) and not _went_on(load_record(path), record):
        raise InputError(f"{path}: already holds a record; choose another --output-dir")
    write_whole(path, record_json(record))
    return path


def amend_record(path: Path, **values: Any) -> None:
    """Set `values` in the record at `path`, whole or not at all; what else it holds stays.

    Raises:
        InputError: it cannot be read or written, or `values` are none of a record.
    """
    what = "a record"
    held = read_versioned(path, what=what, newest=SCHEMA_VERSION, max_bytes=_MAX_RECORD_BYTES)
    amended = held | values
    shaped(_of_version_1(amended), RunRecord, path=path, what=what, unknown_keys="ignore")
    write_whole(path, json.dumps(amended, indent=1, allow_nan=False) + "\n")


def save_elsewhere(record: RunRecord) -> Path:
    """Write `record`, which its own folder did not take, to a new one among temporary files.

    Raises:
        OSError, InputError: there is no room either.
    """
    return save_record(record, Path(mkdtemp(prefix="mnistbench-")) / record.run_id)


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
    values = _of_version_1(values)
    return shaped(values, RunRecord, path=path, what=what, unknown_keys="ignore")


def _of_version_1(values: dict[str, Any]) -> dict[str, Any]:
    """What version 1 said otherwise: a loss of null was not finite, as each was evaluated."""
    points = values.get("eval_points")
    if values["schema_version"] > 1 or not isinstance(points, list):
        return values
    told = [
        point | {"diverged": True}
        if isinstance(point, dict) and point.get("loss", 0) is None
        else point
        for point in points
    ]
    return values | {"eval_points": told}


def load_records(paths: Iterable[Path], *, strict: bool = False) -> Loaded:
    """Read every record among `paths`: files as named, folders searched all the way down.

    One that cannot be read is passed over where it was found in a folder; one that was named
    itself is an error, and with `strict` any.

    Raises:
        InputError: as `find_records`; a record that was asked for cannot be read, or none can.
    """
    paths = list(paths)
    records: list[RunRecord] = []
    skipped: list[str] = []
    found, collects = find_records(paths), gc.isenabled()
    gc.disable()  # records have no cycles; the collector would look at all of them again and again
    try:
        for path in found:
            try:
                records.append(load_record(path))
            except InputError as error:
                if strict or path in paths:
                    raise
                skipped.append(str(error))
    finally:
        if collects:
            gc.enable()
    if skipped and not records:
        several = f"none of {len(skipped)} records could be read: "
        raise InputError((several if len(skipped) > 1 else "") + skipped[0])
    return Loaded(records, skipped)


def left_out_note(skipped: Sequence[str], *, of: int) -> str:
    """One sentence on records that could not be read.

    Args:
        skipped: of each its path and why, as the error says it.
        of: how many there are, with those that could be read.
    """
    if not skipped:
        return ""
    told = [*skipped[:_MOST_NAMED]]
    if len(skipped) > _MOST_NAMED:
        told.append(f"and {len(skipped) - _MOST_NAMED} more")
    verb = "is" if len(skipped) == 1 else "are"
    return f"{len(skipped)} of {of} records could not be read and {verb} left out: " + "; ".join(
        told
    )


def find_records(paths: Iterable[Path]) -> list[Path]:
    """Every ``record.json`` among `paths`: files as named, folders by `search`.

    Raises:
        InputError: a path does not exist or may not be read, or a folder holds no record.
    """
    found: list[Path] = []
    for path in paths:
        try:
            found.extend(_records_at(path))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    once: dict[str, Path] = {}
    for path in found:  # one that is named by a link as well is still one
        once.setdefault(os.path.realpath(path), path)
    return list(once.values())


def _records_at(path: Path) -> list[Path]:
    if path.is_dir():
        inside = search(path)
        if not inside:
            raise InputError(f"{path}: no {RECORD_NAME} in this folder; make a run first")
        return inside
    if not path.exists():
        raise InputError(f"{path}: does not exist")
    return [path]


def search(folder: Path) -> list[Path]:
    """Every ``record.json`` in `folder` and below, in the order of their paths.

    Links are followed; each folder and each file is taken once, and by its own name rather than a
    link's. A folder that cannot be searched is taken to hold a record, so that who loads it says
    why not; so is what leads nowhere, but inside a run's folder, where libraries leave such links.
    """
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    waiting = deque([(folder, False)])
    while waiting:
        path, in_run = waiting.pop()
        is_record = path.name == RECORD_NAME and path != folder
        try:
            status = path.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            entries = sorted(os.scandir(path), key=_BY_NAME) if stat.S_ISDIR(status.st_mode) else []
        except OSError:
            if is_record or not (in_run and path.is_symlink()):
                found.append(path if is_record else path / RECORD_NAME)
            continue
        seen.add((status.st_dev, status.st_ino))
        if is_record:
            found.append(path)
        in_run = in_run or any(entry.name == RECORD_NAME for entry in entries)
        for entry in entries:
            if entry.is_symlink():
                waiting.appendleft((Path(entry.path), in_run))  # after all that is no link
            elif entry.name == RECORD_NAME or entry.is_dir():
                waiting.append((Path(entry.path), in_run))
    return sorted(found, key=lambda path: path.parts)
