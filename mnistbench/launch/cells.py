"""Cells of a sweep: runs that are known by what decides them, and what carries them out."""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple, Protocol

from mnistbench.launch.children import Child
from mnistbench.schema.component import short_name
from mnistbench.schema.record import RunRecord

_LONGEST_HEAD = 80
_ODD = re.compile(r"[^A-Za-z0-9.+-]+")


@dataclass(frozen=True, kw_only=True)
class Cell(ABC):
    """One run of a sweep: of this package's own loop (`RunCell`) or of a script (`ScriptCell`).

    Attributes:
        num_processes: how many processes run it, on one machine.
        code: name and hash of each file of the user's own; the run refuses others.
    """

    num_processes: int = 1
    code: str | None = None

    @cached_property
    def id(self) -> str:
        """Name of the cell's folder: its slug, and a hash of all that decides the run."""
        text = json.dumps(self._decides(), sort_keys=True, allow_nan=False)
        digest = hashlib.sha256(text.encode(), usedforsecurity=False).hexdigest()[:10]
        return f"{self.slug}-{digest}"

    @abstractmethod
    def _decides(self) -> dict[str, Any]: ...

    @property
    @abstractmethod
    def slug(self) -> str:
        """What a person knows it by; others may have the same."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """All settings that may tell it from other cells, ``seed`` among them if one is set."""

    @property
    def seed(self) -> int | None:
        """Its seed; ``None`` where no seed is set."""
        return self.settings.get("seed")

    @property
    @abstractmethod
    def planned(self) -> dict[str, Any]:
        """What ``sweep.json`` says of it, as JSON, beside `id` and `code`."""

    @property
    def num_threads(self) -> int | None:
        """CPU threads of each process, where the cell sets them itself."""
        return None

    def window(self, num_steps: int) -> Cell | None:  # noqa: ARG002
        """A run of `num_steps` of its configuration, whatever its seed, that is there to be timed.

        ``None`` where there is no such run, as of a script.
        """
        return None

    def placed(self) -> Cell:
        """The same cell, for a process that works in another folder."""
        return self

    @abstractmethod
    def start(
        self,
        folder: Path,
        *,
        num_threads: int | None = None,
        shared_cores: bool = False,
        work_dir: Path | None = None,
        start_child: Callable[..., Child] = Child,
    ) -> Child:
        """Start it in a child process; end that by `end_all`, then ask `ended`.

        Args:
            folder: a new folder for it; a record comes to ``folder/<run_id>/record.json``.
            num_threads: CPU threads of each process, unless the cell has its own. Default: the run
                divides all cores over its processes.
            shared_cores: put on record that other runs shared the cores.
            work_dir: where it runs. Default: this process's working directory.
            start_child: makes the child of a run of our own loop, called as `Child` is.

        Raises:
            InputError: `folder` cannot be written, or a child would run other code than planned.
        """

    @abstractmethod
    def ended(self, child: Child, *, folder: Path) -> Attempt:
        """What `child`, which has ended, left in `folder`."""


class Attempt(NamedTuple):
    """How one try to run a cell ended.

    Attributes:
        cell: what was run.
        record: what it left, whatever its status; none if it left nothing.
        error: why there is no record, one line.
        refused: the run refused its input: another try would end the same.
    """

    cell: Cell
    record: RunRecord | None
    error: str | None = None
    refused: bool = False


class Executor(Protocol):
    """What runs cells."""

    def run(self, cells: Sequence[Cell], *, folder: Path) -> Iterator[Attempt]:
        """Try each of `cells` once and give each attempt as it ends, in any order.

        An attempt with a record has left it, whole, as ``record.json`` in
        ``attempt_folder(folder, cell) / record.run_id``, where the caller takes it from before it
        asks for the next; what else lies in `folder` the caller removes. A failed cell is an
        attempt, not an exception.

        Raises:
            InputError: cells cannot be run at all, such as with an address that does not answer.
            KeyboardInterrupt: a signal came (`Terminated` for SIGTERM and SIGHUP); what ran has
                been ended.
        """

    def close(self) -> None:
        """End what still runs and give back what was taken; more than once does no harm."""


def attempt_folder(folder: Path, cell: Cell) -> Path:
    """A name inside `folder` for one attempt at `cell`, new with every call; nothing is made."""
    return folder / f"{cell.id}-{token_hex(4)}"


def head_of(words: Sequence[str]) -> str:
    """The beginning of a slug, a file's name of at most 80 characters."""
    head = _ODD.sub("-", "-".join(words)).lstrip("-.")
    if len(head) > _LONGEST_HEAD:
        head = head[:_LONGEST_HEAD].rpartition("-")[0] or head[:_LONGEST_HEAD]
    return head


def as_text(value: Any) -> str:
    """A value of a configuration as part of a file's name."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, list):
        text = "+".join(map(str, value)) or "none"
    elif isinstance(value, float):
        text = f"{value:g}"
    elif isinstance(value, str):
        text = short_name(value)
    return _ODD.sub("-", text)
