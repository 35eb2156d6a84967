"""Cells on this machine, one at a time or several side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mnistbench.launch.cells import Attempt, Cell, attempt_folder
from mnistbench.launch.children import Child, end_all, held_stops, raised_stops
from mnistbench.launch.preloaded import Preloaded
from mnistbench.recorder.limits import usable_cores

_LOOK_S = 0.05


class LocalExecutor:
    """Runs cells in child processes, `jobs` at a time.

    One at a time has the machine's cores as a run by hand would. Several divide them, and are on
    record as not measured alone: cells that share cores spoil each other's seconds.
    """

    def __init__(self, *, jobs: int = 1, fresh: bool = False) -> None:
        """Each of `fresh` cells imports all it needs; else one process does so for all."""
        self._jobs = jobs
        self._preloaded = Preloaded()
        self._start_child = Child if fresh else self._preloaded.start
        self._running: list[tuple[Cell, Child, Path]] = []

    def run(self, cells: Sequence[Cell], *, folder: Path) -> Iterator[Attempt]:
        """See `mnistbench.launch.cells.Executor`."""
        waiting = list(reversed(cells))
        try:
            while waiting or self._running:
                while waiting and len(self._running) < self._jobs:
                    with held_stops():
                        self._start(waiting.pop(), folder)
                yield self._next_ended()
        finally:
            self.close()

    def close(self) -> None:
        """End what still runs."""
        with held_stops():
            end_all([child for _, child, _ in self._running])
            self._running.clear()
            self._preloaded.close()

    def _start(self, cell: Cell, folder: Path) -> None:
        own = attempt_folder(folder, cell)
        child = cell.start(
            own,
            num_threads=self._num_threads(cell),
            shared_cores=self._jobs > 1,
            start_child=self._start_child,
        )
        self._running.append((cell, child, own))

    def _num_threads(self, cell: Cell) -> int | None:
        if self._jobs == 1:
            return None
        return max(1, usable_cores() // (self._jobs * cell.num_processes))

    def _next_ended(self) -> Attempt:
        with raised_stops():
            if len(self._running) == 1:
                self._running[0][1].wait()  # without a look now and then, which a run would feel
            while all(child.status is None for _, child, _ in self._running):
                time.sleep(_LOOK_S)
        with held_stops():
            first = next(run for run in self._running if run[1].status is not None)
            cell, child, own = first
            end_all([child])
            self._running.remove(first)
            return cell.ended(child, folder=own)
