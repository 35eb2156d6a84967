"""The folder of a sweep: what was asked, what is done, and what a killed sweep left.

``sweep.json`` names the cells, ``cells/<id>/record.json`` is the result of one. A run writes to
``.running/<id>-<token>/`` and is moved by one rename, so that a cell is there once or not at all,
whenever a sweep is killed.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import Field

from mnistbench.launch.cells import Cell
from mnistbench.recorder.redaction import redacted
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import check_writable, lock_file, no_link, write_whole
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import load_record
from mnistbench.schema.strict_json import load_versioned
from mnistbench.schema.strict_model import StrictModel

DONE = frozenset({"completed", "diverged"})
"""Statuses of a run that another try would not better."""

_ATTEMPT = re.compile(r".+-[0-9a-f]{8}")
_VERSION = 1
_MAX_PLAN_BYTES = 256 * 2**20


class PlannedCell(StrictModel):
    """A cell as ``sweep.json`` names it: values that differ from the defaults of `RunConfig`.

    Of a script they are its command and the values in it. `code` tells the contents of the user's
    own files.
    """

    id: str
    values: dict[str, Any]
    num_processes: int = Field(1, ge=1)
    code: str | None = None


class SweepPlan(StrictModel):
    """``sweep.json``: every grid that was asked for in a folder, and their cells."""

    schema_version: int = Field(_VERSION, ge=1)
    grids: list[dict[str, str]] = Field(default_factory=list)
    cells: list[PlannedCell] = Field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> SweepPlan:
        """The plan at `path`.

        Raises:
            InputError: it cannot be read.
        """
        return load_versioned(path, cls, what="a sweep", newest=_VERSION, max_bytes=_MAX_PLAN_BYTES)


class SweepFolder:
    """The folder of a sweep; nothing is written before `opened`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.running = path / ".running"

    def record_path(self, cell: Cell) -> Path:
        """Where the result of `cell` lies, once it is done."""
        return self._path / "cells" / cell.id / "record.json"

    def load(self, cell: Cell) -> RunRecord | None:
        """The result of `cell`, or ``None`` if it is not done.

        Raises:
            InputError: something lies there that is no result.
        """
        path = self.record_path(cell)
        with _one_line(path):
            try:
                path.lstat()
            except FileNotFoundError:
                return None
        try:
            record = load_record(path)
        except InputError as error:
            raise InputError(f"{error}; remove its folder") from None
        if record.status not in DONE:
            raise InputError(f"{path}: is of a run that {record.status}; remove its folder")
        return record

    @contextmanager
    def opened(self, cells: Sequence[Cell], *, grid: Mapping[str, str]) -> Iterator[None]:
        """Have the folder for one sweep alone, with `cells` in its plan and all runs kept.

        Runs that had ended when an earlier sweep was killed are adopted; the rest of what it left,
        and of what this one leaves, is removed.

        Raises:
            InputError: another sweep has it, it cannot be written, or holds another ``sweep.json``
                or a link in the place of what is the sweep's own.
        """
        check_writable(self._path)
        with _one_line(self._path):
            self._path.mkdir(parents=True, exist_ok=True)
            for own in (self.running, self._path / "cells"):
                if os.path.lexists(no_link(own)) and not own.is_dir():
                    raise OSError(errno.ENOTDIR, "is no folder, and none of ours; remove it", own)
            lock = lock_file(self._path / ".lock")
        with os.fdopen(lock, "rb"):
            self._take(lock)
            self._plan(cells, grid)
            self._settle()
            try:
                yield
            finally:
                # what ended while the sweep was told to end counts as well; what cannot be kept
                # now is for the next one
                with suppress(InputError, OSError):
                    self._settle()
                    self.running.rmdir()

    def adopt(self, cell: Cell) -> None:
        """Keep the record that an attempt at `cell` left in `running`; remove all else of it.

        Raises:
            InputError: it cannot be moved.
        """
        self._settle(f"{cell.id}-*")

    def _take(self, lock: int) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however
        except BlockingIOError:
            raise InputError(
                f"{self._path}: another sweep runs in this folder; wait for it, or choose another "
                "--output-dir"
            ) from None
        except OSError as error:
            raise InputError(
                f"{self._path}: files cannot be locked there ({error.strerror}), which keeps two "
                "sweeps apart; choose an --output-dir on another disk"
            ) from None

    def _plan(self, cells: Sequence[Cell], grid: Mapping[str, str]) -> None:
        path = self._path / "sweep.json"
        before = SweepPlan.load(path) if path.exists() else SweepPlan()
        planned = {cell.id: cell for cell in before.cells}
        for cell in cells:
            planned.setdefault(cell.id, PlannedCell(id=cell.id, code=cell.code, **cell.planned))
        asked = dict(grid)
        if any(cell.settings.get("anonymize") is True for cell in cells):
            asked = {name: redacted(text) for name, text in grid.items() if name != "data_dir"}
        grids = [*before.grids, *([asked] if asked not in before.grids else [])]
        plan = SweepPlan(grids=grids, cells=list(planned.values()))
        if plan != before:
            write_whole(path, json.dumps(plan.model_dump(mode="json"), indent=1) + "\n")

    def _settle(self, names: str = "*") -> None:
        for left in sorted(self.running.glob(names)):
            if _ATTEMPT.fullmatch(left.name):  # what else lies there is not ours to remove
                self._adopt(left)

    def _adopt(self, folder: Path) -> None:
        cell_id, _, _ = folder.name.rpartition("-")
        target = self._path / "cells" / cell_id
        with _one_line(self._path):
            for path in (found := sorted(no_link(folder).glob("*/record.json"))):
                is_ours = not (path.is_symlink() or path.parent.is_symlink()) and len(found) == 1
                if is_ours and not os.path.lexists(target / "record.json") and _is_done(path):
                    target.parent.mkdir(exist_ok=True)
                    path.parent.rename(target)
            shutil.rmtree(folder)


def _is_done(path: Path) -> bool:
    try:
        return load_record(path).status in DONE
    except InputError:  # half a record is none
        return False


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{error.filename or path}: {error.strerror or error}") from None
