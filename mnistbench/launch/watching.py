"""A sweep as it runs, or a folder of runs as it grows, in the terminal or line by line."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeAlias

from mnistbench.launch.sweep_progress import duration
from mnistbench.launch.sweep_sight import Sight, Watcher
from mnistbench.schema.escaping import printable
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import left_out_note

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Table: TypeAlias = Callable[
    [Sequence[RunRecord], float], tuple[list[str], list[str], list[str], list[str]]
]
"""Records, and letters in a line, as the lines of a table: head, rows, what is left out, notes."""

_NEWEST = 40
"""Runs that the live table is of, or it would grow beyond any terminal."""


def watch(folder: Path, *, table: Table, every_s: float, out: TextIO) -> bool:
    """Show what is in `folder` until nothing will come any more; whether all of it is done then.

    On a terminal the view is drawn again every `every_s` seconds; elsewhere a line tells of each
    change, and the table comes last. A folder of runs has no end on a terminal, where the user
    ends it, and elsewhere ends after one look.

    Raises:
        InputError: there is no such folder, or the plan of its sweep cannot be read.
        KeyboardInterrupt: a signal came; the terminal is as it was.
    """
    watcher = Watcher(folder)
    if out.isatty():
        return _draw(watcher, folder, table=table, every_s=every_s, out=out)
    return _tell(watcher, table=table, every_s=every_s, out=out)


def _tell(watcher: Watcher, *, table: Table, every_s: float, out: TextIO) -> bool:
    said = None
    for sight in _sights(watcher, every_s):
        line = counts_line(sight, estimate=False)
        if line != said:
            _write(counts_line(sight), out)
            said = line
        if sight.cells is None:
            break
    _write("\n".join([*_whole(table, sight.records), *_end(sight)]), out)
    return sight.is_complete or sight.cells is None


def _draw(watcher: Watcher, folder: Path, *, table: Table, every_s: float, out: TextIO) -> bool:
    from rich.console import Console
    from rich.live import Live

    console = Console(file=out, highlight=False, emoji=False)
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        for sight in _sights(watcher, every_s):
            live.update(_view(sight, folder, console, table=table), refresh=True)
    for line in _end(sight):
        console.print(line, markup=False)
    return sight.is_complete


def _sights(watcher: Watcher, every_s: float) -> Iterator[Sight]:
    """What is there now and every `every_s` seconds, up to and with the last of it."""
    while True:
        sight = watcher.look()
        yield sight
        if sight.has_ended:
            return
        time.sleep(every_s)


def counts_line(sight: Sight, *, estimate: bool = True) -> str:
    """How many cells are done, running, failed and left and, with `estimate`, for how long."""
    done = len(sight.records)
    unreadable = f", {len(sight.unreadable)} unreadable" if sight.unreadable else ""
    if sight.cells is None:
        return f"{done} run{'s' * (done != 1)}{unreadable}"
    counts = {
        "running": len(sight.running),
        "failed": len(sight.failed),
        "unreadable": len(sight.unreadable),
    }
    counts["left"] = sight.cells - done - sum(counts.values())
    told = [f"{done} of {sight.cells} cells done"]
    told += [f"{number} {what}" for what, number in counts.items() if number]
    if estimate and sight.left_s is not None:
        told.append(f"about {duration(sight.left_s)} to go")
    return ", ".join(told)


def _view(sight: Sight, folder: Path, console: Console, *, table: Table) -> RenderableType:
    from rich.console import Group
    from rich.padding import Padding
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    def line(text: str, style: str = "") -> Text:
        return Text(printable(text), style=style, no_wrap=True, overflow="ellipsis")

    width = min(console.width, 60)
    bar = ProgressBar(total=sight.cells, completed=len(sight.records), width=width)
    newest = sight.records[-_NEWEST:]
    padded = Padding(bar, 0)  # to the end of its line
    room = max(3, console.height - 6 - min(3, len(sight.running)))
    return Group(
        line(str(folder), "bold"),
        *([padded] if sight.cells else []),
        line(counts_line(sight)),
        *(line(f"running {cell}", "dim") for cell in sight.running[:3]),
        *(line(f"failed {cell}", "red") for cell in sight.failed[:3]),
        line(""),
        *(line(row) for row in _rows(table, newest, width=console.width, room=room)),
    )


def _whole(table: Table, records: Sequence[RunRecord]) -> list[str]:
    width = shutil.get_terminal_size().columns
    return [line for part in table(records, width) for line in part] if records else []


def _rows(table: Table, records: Sequence[RunRecord], *, width: int, room: int) -> list[str]:
    """The table's head and its last rows, without its notes, in `room` lines of `width` letters."""
    head, rows, below, _ = table(records, width) if records else ([], [], [], [])
    return [*head, *rows[-max(1, room - len(head) - len(below)) :], *below]


def _end(sight: Sight) -> list[str]:
    number = len(sight.records) + len(sight.unreadable)
    note = printable(left_out_note(sight.unreadable, of=number))
    told = [note] if note else []
    if sight.cells is None or sight.is_complete:
        return told
    left = sight.cells - len(sight.records)
    return [*told, f"no sweep runs here, and {left} cells are left; its command goes on"]


def _write(text: str, out: TextIO) -> None:
    out.write(f"{text}\n")
    out.flush()
