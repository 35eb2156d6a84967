"""A sweep: every cell of a grid is tried until it is done, however often the sweep is stopped."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from mnistbench.launch.cells import Attempt, Cell, Executor
from mnistbench.launch.sweep_folder import SweepFolder
from mnistbench.launch.sweep_progress import Progress
from mnistbench.schema.errors import InputError

Failure = tuple[Cell, str]
"""A cell that was tried as often as asked for, and why it is not done."""


def run_sweep(
    cells: Sequence[Cell],
    *,
    folder: SweepFolder,
    executor: Executor,
    retries: int,
    progress: Progress,
) -> list[Failure]:
    """Run those of `cells` that are not done, and keep what each leaves.

    A cell that failed is tried again after all others, unless it refused its input; then it is
    reported, and stops nothing. So is a cell that is done by a record that cannot be read.

    Args:
        cells: without repetition; `folder` has been opened for them.
        folder: knows what is done, and gets the records.
        executor: runs the cells; it is closed whatever happens.
        retries: how many more times a failed cell is tried.
        progress: is told of each cell that ends.

    Raises:
        InputError: no cell can be run, or no record kept.
        KeyboardInterrupt: a signal came; what had ended is kept.
    """
    waiting, failures = _not_done(cells, folder)
    for failure in failures:
        progress.failed_before(*failure)
    num_done = len(cells) - len(waiting) - len(failures)
    progress.begin(num_done=num_done, num_waiting=len(waiting))
    with closing(executor):
        for tries_left in range(retries, -1, -1):
            if not waiting:
                break  # an executor may take long to start
            pending, waiting = waiting, []
            for attempt in executor.run(pending, folder=folder.running):
                folder.adopt(attempt.cell)
                record = folder.load(attempt.cell)
                if record is not None:
                    progress.done(attempt.cell, record)
                elif tries_left and not attempt.refused:
                    progress.again(attempt.cell, _why(attempt))
                    waiting.append(attempt.cell)
                else:
                    progress.failed(attempt.cell, _why(attempt))
                    failures.append((attempt.cell, _why(attempt)))
    return failures


def _not_done(cells: Sequence[Cell], folder: SweepFolder) -> tuple[list[Cell], list[Failure]]:
    """The cells to run, and those whose result is there and cannot be read."""
    waiting, failures = [], []
    for cell in cells:
        try:
            if folder.load(cell) is None:
                waiting.append(cell)
        except InputError as error:
            failures.append((cell, str(error)))
    return waiting, failures


def _why(attempt: Attempt) -> str:
    if attempt.record is None:
        return attempt.error or "the run left no record"
    return attempt.record.error or f"the run {_ENDED.get(attempt.record.status, 'is lost')}"


_ENDED = {"interrupted": "was interrupted", "failed": "failed"}
