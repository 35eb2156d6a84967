"""What is told while a sweep runs: a line for each cell that ends, and the time left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from mnistbench.launch.cells import Cell, as_text
from mnistbench.recorder.core_use import load_now
from mnistbench.schema.record import RunRecord

_MOST_METRICS = 2  # in a line


class Progress:
    """Counts the cells of a sweep as they end, and tells of each."""

    def __init__(self, cells: Sequence[Cell], *, jobs: int, tell: Callable[[str], None]) -> None:
        """Count `cells`, of which `jobs` run side by side, into `tell`, line by line."""
        self.num_done = 0
        self._num_cells, self._names = len(cells), names(cells)
        self.jobs = jobs
        self._tell = tell
        self._started = monotonic()
        self._num_ended = self._num_failed = 0

    def begin(self, *, num_done: int, num_waiting: int) -> None:
        """Count cells that an earlier sweep has done, and tell what will be run."""
        self._started = monotonic()
        self.num_done += num_done
        if num_done:
            self._tell(f"{num_done} of {self._num_cells} cells were done before")
        if num_waiting:
            self._tell(
                f"running {num_waiting} of {self._num_cells} cells; each prints a line when it ends"
            )
            if line := load_now():
                self._tell(line)

    def failed_before(self, cell: Cell, error: str) -> None:
        """Tell why `cell`, which is there already, cannot be counted."""
        self._num_failed += 1
        self._tell(f"{self._names[cell.id]} FAILED: {error}")

    def done(self, cell: Cell, record: RunRecord) -> None:
        """Tell what `cell` has reached."""
        self.num_done += 1
        self._end(f"{self._names[cell.id]}: {_reached(record)}, {record.wall_s:.1f} s")

    def again(self, cell: Cell, error: str) -> None:
        """Tell that `cell` failed, and will be tried again."""
        self._tell(f"{self._names[cell.id]} failed and will be tried again: {error}")

    def failed(self, cell: Cell, error: str) -> None:
        """Tell that `cell` failed for good."""
        self._num_failed += 1
        self._end(f"{self._names[cell.id]} FAILED: {error}")

    def _end(self, line: str) -> None:
        self._num_ended += 1
        num_left = self._num_cells - self.num_done - self._num_failed
        left_s = time_left_s(
            monotonic() - self._started,
            num_ended=self._num_ended,
            num_left=num_left,
            jobs=self.jobs,
        )
        left = f"; about {duration(left_s)} left" if num_left else ""
        self._tell(f"{self.num_done} of {self._num_cells} done: {line}{left}")


def names(cells: Sequence[Cell]) -> dict[str, str]:
    """What tells each of `cells` from the others, by its id; of one alone, its slug."""
    values = [cell.settings for cell in cells]
    known = dict.fromkeys(name for one in values for name in one)
    varying = [name for name in known if len({str(one.get(name)) for one in values}) > 1]
    return {
        cell.id: ", ".join(f"{k} {_text(one[k])}" for k in varying if k in one) or cell.slug
        for cell, one in zip(cells, values, strict=True)
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else as_text(value)


def time_left_s(elapsed_s: float, *, num_ended: int, num_left: int, jobs: int) -> float:
    """Estimate of what `num_left` cells need at the pace of the `num_ended` before them [seconds].

    With `jobs` cells side by side they end about that many at a time: the first to end has taken
    as long as all `jobs` that began with it.
    """
    return elapsed_s / -(-num_ended // jobs) * -(-num_left // jobs)


def _reached(record: RunRecord) -> str:
    if record.status == "diverged":
        return "diverged"
    result = record.result
    accuracy = result.test_accuracy if result.val_accuracy is None else result.val_accuracy
    split = "test" if result.val_accuracy is None else "val"
    if accuracy is not None:
        return f"{100 * accuracy:.2f} % on {split}"
    told = [f"{name} {value:.4g}" for name, value in record.metrics.items() if value is not None]
    return ", ".join(told[:_MOST_METRICS]) or "–"


def duration(seconds: float) -> str:
    """Two units at most: ``12 s``, ``2 min 30 s``, ``1 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
