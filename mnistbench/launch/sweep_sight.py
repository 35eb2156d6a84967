"""What can be seen of a sweep from outside: its folder is looked at, and nothing in it touched."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from mnistbench.launch.sweep_folder import SweepPlan
from mnistbench.launch.sweep_progress import time_left_s
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import RECORD_NAME, load_record, search

_LOCKS = Path("/proc/locks")


@dataclass(frozen=True, kw_only=True)
class Sight:
    """A folder at one moment.

    Attributes:
        cells: how many were ever asked for in it; ``None`` if it is no sweep's.
        records: of the cells that are done or, in a folder of runs, of all; the newest last.
        running: ids of the cells that are being tried.
        failed: ids of cells whose last try ended without a result while they were watched.
        unreadable: of each record that cannot be read its path and why.
        alive: whether a sweep runs in it; ``None`` where nothing tells.
    """

    cells: int | None
    records: tuple[RunRecord, ...]
    running: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    alive: bool | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all cells of a sweep are done."""
        return self.cells is not None and len(self.records) >= self.cells

    @property
    def has_ended(self) -> bool:
        """Whether nothing will come any more without another command."""
        return self.is_complete or self.alive is False

    @property
    def left_s(self) -> float | None:
        """Estimate of what the cells that are not done need, at the median of those done [s]."""
        if self.cells is None or self.is_complete or not self.records:
            return None
        return time_left_s(
            median(record.wall_s for record in self.records),
            num_ended=1,
            num_left=self.cells - len(self.records),
            jobs=max(1, len(self.running)),
        )


class Watcher:
    """Looks at a folder again and again; what it has read once is not read again."""

    def __init__(self, folder: Path) -> None:
        """Watch `folder`.

        Raises:
            InputError: it does not exist.
        """
        if not folder.is_dir():
            raise InputError(f"{folder}: is no folder; name that of a sweep, or of runs")
        self._folder = folder
        self._known: dict[Path, tuple[int, RunRecord | str]] = {}
        self._tries: dict[str, str] = {}
        self._failed: dict[str, None] = {}

    def look(self) -> Sight:
        """What is there now.

        Raises:
            InputError: the plan of a sweep cannot be read.
        """
        path = self._folder / "sweep.json"
        if not os.access(path, os.F_OK):
            records, unreadable = self._records(search(self._folder))
            return Sight(cells=None, records=records, unreadable=unreadable)
        plan = SweepPlan.load(path)
        alive = _is_alive(self._folder)  # asked first: what it does until it ends is seen below
        tries = dict(_tries(self._folder / ".running"))
        done = {cell.id: self._folder / "cells" / cell.id / RECORD_NAME for cell in plan.cells}
        kept = {cell: path for cell, path in done.items() if os.access(path, os.F_OK)}
        running = [cell for cell in tries.values() if cell not in kept]
        self._note_failures(tries, kept)
        records, unreadable = self._records(kept.values())
        return Sight(
            cells=len(done),
            records=records,
            running=tuple(dict.fromkeys(running)),
            failed=tuple(self._failed),
            unreadable=unreadable,
            alive=alive,
        )

    def _note_failures(self, tries: Mapping[str, str], kept: Mapping[str, Path]) -> None:
        """A try that is gone and left no result has failed, until its cell is tried again."""
        for name, cell in self._tries.items():
            if name not in tries and cell not in kept:
                self._failed[cell] = None
        for cell in (*tries.values(), *kept):
            self._failed.pop(cell, None)
        self._tries = dict(tries)

    def _records(self, paths: Iterable[Path]) -> tuple[tuple[RunRecord, ...], tuple[str, ...]]:
        """The records at `paths`, the newest last, and why each other one cannot be read."""
        found = [self._read(path) for path in paths]
        records = [record for record in found if isinstance(record, RunRecord)]
        records.sort(key=lambda record: record.created_at)
        return tuple(records), tuple(sorted(why for why in found if isinstance(why, str)))

    def _read(self, path: Path) -> RunRecord | str | None:
        """The record at `path`, or why it is none; ``None`` where it was moved a moment ago."""
        try:
            written = path.stat().st_mtime_ns
        except OSError as error:
            is_gone = isinstance(error, FileNotFoundError)  # else links cannot be asked for
            if is_gone and not (path.is_symlink() or path.parent.is_symlink()):
                return None
            return f"{path}: cannot be read ({error.strerror})"
        if path not in self._known or self._known[path][0] != written:
            try:
                self._known[path] = (written, load_record(path))
            except InputError as error:
                if not os.access(path, os.F_OK):
                    return None
                self._known[path] = (written, str(error))
        return self._known[path][1]


def _tries(running: Path) -> list[tuple[str, str]]:
    """The folder of each try and the id of its cell."""
    try:
        names = sorted(path.name for path in running.iterdir())
    except OSError:  # there is none before and after a sweep
        return []
    return [(name, name.rpartition("-")[0]) for name in names]


def _is_alive(folder: Path) -> bool | None:
    """Whether a sweep has the folder, by its lock; ``None`` where only what it left there says so.

    That may be one on another machine, or one that was killed. The lock is not tried: a sweep that
    starts at that moment would be refused.
    """
    try:
        inode = (folder / ".lock").lstat().st_ino
        held = [line.split() for line in _LOCKS.read_text(encoding="utf-8").splitlines()]
    except OSError:
        held = []
    if any("FLOCK" in words and any(w.endswith(f":{inode}") for w in words) for words in held):
        return True
    return None if (folder / ".running").is_dir() else False
