"""Seconds per step, measured alone: what turns the steps of cells side by side into times.

Cells that share cores spoil each other's seconds, not their steps. So the seconds per step of each
configuration are measured once for all of its seeds, in short windows of all configurations in
turn, and kept in the records of its cells. The same windows tell how many cells side by side are
the fastest.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from mnistbench.analysis.scoring import target_of
from mnistbench.launch.cells import Cell, Executor, attempt_folder
from mnistbench.launch.sweep_folder import SweepFolder
from mnistbench.recorder.limits import usable_cores
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import amend_record
from mnistbench.stats.readings import factor_spread

_WINDOW_S, _TRIAL_S = 0.5, 2.0
"""Seconds of steps in a window, and in a trial of so many cells side by side."""
_FIRST_STEPS = 10
_ROUNDS, _MOST_ROUNDS = 6, 12
_MACHINE = ("device_type", "device_name", "cpu_name")
"""What a run of which the time is reckoned must have been on as well."""
_WORTH = 1.25
"""Times the samples/s of one cell that several have to make: the windows after them take time."""
_WELL_KNOWN = 0.02
"""Half the 95 % interval of seconds per step, as a fraction, at which there are windows enough."""


class Here(NamedTuple):
    """This machine: what runs so many cells side by side, in the `folder` of a sweep.

    `tell` takes lines that stay, `passing` those on what is done now.
    """

    folder: SweepFolder
    executor: Callable[[int | None], Executor]
    tell: Callable[[str], None]
    passing: Callable[[str], None] = lambda _: None

    def run(self, cells: Sequence[Cell], *, jobs: int = 1) -> Iterator[tuple[Cell, RunRecord]]:
        """Run `cells` for what their records say, which are not kept; some may leave none."""
        scratch = attempt_folder(self.folder.running, cells[0])  # of which nothing is adopted
        try:
            for cell, record, *_ in self.executor(jobs).run(cells, folder=scratch):
                if record is not None and record.train_s:
                    yield cell, record
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def measure_alone(cells: Sequence[Cell], here: Here) -> None:
    """Measure seconds per step of those of `cells` that ran side by side to a target.

    All are measured again where one is not yet, so that they are in turn. What cannot be measured
    keeps no time, and is told of.

    Raises:
        InputError: a record cannot be written.
        KeyboardInterrupt: a signal came; nothing was written.
    """
    groups = _configurations(cells, here.folder)
    known = {record.alone_at for _, group in groups for _, record in group}
    if not groups or (len(known) == 1 and None not in known):
        return
    what = f"{len(groups)} configuration{'s' * (len(groups) > 1)}"
    each = f"{_ROUNDS} to {_MOST_ROUNDS} short runs of each"
    here.tell(f"seconds per step of {what} are measured alone, in turn: {each}")
    began, windows = datetime.now(UTC).isoformat(), [window for window, _ in groups]
    found: dict[str, list[RunRecord]] = {window.id: [] for window in windows}
    for _ in range(0, _MOST_ROUNDS, _ROUNDS):
        in_turn = [one for turn in range(_ROUNDS) for one in windows[:: 1 - 2 * (turn % 2)]]
        for cell, record in here.run(in_turn):
            found[cell.id].append(record)
        spreads = [factor_spread(_step_s(its)) for its in found.values() if len(its) > 1]
        if max(spreads, default=0.0) <= _WELL_KNOWN:
            break
    for window, group in groups:
        if len(its := found[window.id]) < 2:
            here.tell(f"{window.slug}: its steps could not be timed; its times stay marked")
            continue
        around = its[0].environment
        told = {"alone_step_s": _step_s(its), "alone_threads": around.get("num_threads")}
        for cell, record in group:
            if all(record.environment.get(k) == around.get(k) for k in _MACHINE):
                amend_record(here.folder.record_path(cell), **told, alone_at=began)
    if spreads:
        rounds = max(map(len, found.values()))
        here.tell(f"seconds per step are known to ±{100 * max(spreads):.1f} % ({rounds} windows)")


def best_jobs(cells: Sequence[Cell], here: Here) -> int:
    """How many of `cells` side by side train the most samples/s here, by trials of the first.

    One where that cannot be tried, or more do not make `_WORTH` times what one does.
    """
    left = [cell for cell in cells if not here.folder.record_path(cell).exists()]
    first = next(iter(left), None)
    window = first and first.window(_FIRST_STEPS)
    most = min(len(left), usable_cores() // first.num_processes) if first else 0
    numbers = sorted({most, *(1 << power for power in range(most.bit_length()))})
    if window and most > 1:
        which = ", ".join(map(str, numbers))
        here.passing(f"trying how many cells side by side are the fastest: {which}")
    step_s = _step_s([r for _, r in here.run([window])]) if window and most > 1 else []
    if not first or not step_s:
        here.tell("--jobs auto takes 1: there is nothing to try")
        return 1
    trial = first.window(max(_FIRST_STEPS, round(_TRIAL_S / step_s[0]))) or first
    speeds = {
        jobs: sum(r.throughput.samples_per_s or 0.0 for _, r in here.run([trial] * jobs, jobs=jobs))
        for jobs in numbers
    }
    best = max(numbers, key=lambda jobs: speeds[jobs])
    told = ", ".join(f"{speed:,.0f} with {jobs}" for jobs, speed in speeds.items())
    if best > 1 and speeds[best] < _WORTH * speeds[1]:
        best, told = 1, f"{told}: less than {_WORTH} times those with 1"
    here.tell(f"--jobs auto takes {best}: samples/s in all are {told}")
    return best


def _step_s(records: Iterable[RunRecord]) -> list[float]:
    return [record.train_s / record.num_steps for record in records]


def _configurations(
    cells: Sequence[Cell], folder: SweepFolder
) -> list[tuple[Cell, list[tuple[Cell, RunRecord]]]]:
    """A window of each configuration that ran side by side to a target, and its cells."""
    found: dict[str, tuple[Cell, list[tuple[Cell, RunRecord]]]] = {}
    for cell in cells:
        with suppress(InputError):  # of a record that cannot be read, which has been told of
            record, short = folder.load(cell), cell.window(1)
            if not (record and short and target_of(record)):
                continue
            steps = max(1, round(_WINDOW_S * record.num_steps / (record.train_s or 1.0)))
            window = cell.window(steps)
            if window and record.environment.get("measured_alone") is False:
                found.setdefault(short.id, (window, []))[1].append((cell, record))
    return list(found.values())
