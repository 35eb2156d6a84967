"""What makes a run's times mean less: a machine that moved, others on it, or being watched."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import NamedTuple

from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Canary, CanaryReading, RunRecord

__all__ = [
    "DRIFT_BOUND",
    "UNSTABLE_MARK",
    "cores_taken",
    "drift",
    "is_profiled",
    "is_unstable",
    "machine_change",
    "mark_notes",
    "ran_beside_others",
    "time_mark",
    "without_profiled",
]

DRIFT_BOUND = 0.25
"""Change of the machine's own speed beyond which a run's times are marked as unstable.

On an idle machine of two shared cores, two readings half a minute apart differ by up to 5 % in the
matrix product and 20 % in the copy; a neighbour on one of the cores takes more than this.
"""

_MOST_MOVED = math.log1p(DRIFT_BOUND)

UNSTABLE_MARK = "†"
_BESIDE_MARK = "‡"
_PROFILED_MARK = "§"

_CROWDED = 0.1
"""Share of a run's cores from which on it is said that others took it."""


class MachineChange(NamedTuple):
    """By how much a machine became faster, as logarithms; `moved`: by more than `DRIFT_BOUND`."""

    low: float
    high: float
    moved: bool


def drift(canary: Canary) -> float:
    """The larger change of the two calibrations from before to after the run, as a fraction.

    Of the slower of the two readings, so that it is the same whichever came first.
    """
    return max(
        max(before, after) / min(before, after) - 1
        for before, after in zip(_speeds(canary.before), _speeds(canary.after), strict=True)
    )


def is_unstable(record: RunRecord) -> bool:
    """Whether the machine's speed moved by more than `DRIFT_BOUND` during the run.

    A run without a canary is not called unstable: nothing is known.
    """
    return record.canary is not None and drift(record.canary) > DRIFT_BOUND


def ran_beside_others(record: RunRecord) -> bool:
    """Whether other runs shared the cores on purpose, as cells of a parallel sweep do.

    A run that does not say so is not called that.
    """
    return record.environment.get("measured_alone") is False


def is_profiled(record: RunRecord) -> bool:
    """Whether the steps of a run were watched, by a profiler or by hooks that Python added.

    Its times hold what that cost, and it is in no comparison.
    """
    return record.profile is not None or bool(record.config.get("profile"))


def without_profiled(
    records: Sequence[RunRecord], *, door: str, of: str = ""
) -> tuple[list[RunRecord], list[str]]:
    """The runs among `records` that may be compared, and a line on those that were profiled.

    Args:
        records: any number; there may be none.
        door: what an error begins with.
        of: whose runs they are, such as `` of A``.

    Raises:
        InputError: all of them were profiled.
    """
    kept = [record for record in records if not is_profiled(record)]
    if records and not kept:
        which = "the run" if len(records) == 1 else f"all {len(records)} runs"
        raise InputError(
            f"{door}: {which}{of} {'was' if len(records) == 1 else 'were'} profiled, which costs "
            "time, and such runs are in no comparison; run without --profile"
        )
    number = len(records) - len(kept)
    line = f"{number} of {len(records)} runs{of} were profiled and are left out: that costs time"
    return kept, [line] * (number > 0)


def cores_taken(record: RunRecord) -> float | None:
    """The share of a run's cores that others kept busy, on the machine of its main process.

    ``None`` where its record does not tell, and for runs beside others, which say so themselves.
    """
    telemetry = record.telemetry
    if telemetry is None or telemetry.others_cores_during is None or ran_beside_others(record):
        return None
    names = ("num_usable_cores", "num_processes", "num_machines", "num_threads")
    found = [record.environment.get(name) for name in names]
    counts = [value for value in found if isinstance(value, int) and value > 0]
    if len(counts) < len(names):
        return None
    usable, processes, machines, threads = counts
    if record.environment.get("device_type") != "cpu":
        threads = 1  # a process keeps the device busy with one
    wanted = threads * processes / machines
    lacking = telemetry.others_cores_during + wanted - usable
    return min(max(lacking, 0.0) / wanted, 1.0)


def time_mark(group: Sequence[RunRecord]) -> str:
    """What follows each time and speed of `group`: what made them mean less, or nothing."""
    unstable, beside = any(map(is_unstable, group)), any(map(ran_beside_others, group))
    profiled = any(map(is_profiled, group))
    return UNSTABLE_MARK * unstable + _BESIDE_MARK * beside + _PROFILED_MARK * profiled


def mark_notes(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """What the marks on times mean, where one was set, and whether others took cores."""
    change = f"the machine's own speed moved by more than {100 * DRIFT_BOUND:g} %"
    moved, beside = (_how_many(groups, which) for which in (is_unstable, ran_beside_others))
    lines = [f"{UNSTABLE_MARK} {change} during {moved}: these times are unstable"] if moved else []
    if beside:
        lines.append(f"{_BESIDE_MARK} measured beside other runs ({beside}): no time verdict")
    if profiled := _how_many(groups, is_profiled):
        lines.append(
            f"{_PROFILED_MARK} profiled ({profiled}): these times include what watching cost, and "
            "are in no comparison"
        )
    return lines + _crowded(groups)


def _crowded(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """A line on the runs during which others kept cores busy that they were to use."""
    shares = [(cores_taken(record) or 0.0, record) for group in groups for record in group]
    crowded = [record for share, record in shares if share > _CROWDED]
    if not crowded:
        return []
    which = "the run" if len(shares) == 1 else f"{len(crowded)} of {len(shares)} runs"
    busy = max(r.telemetry.others_cores_during or 0.0 for r in crowded if r.telemetry)
    least = min(int(record.environment["num_usable_cores"]) for record in crowded)
    return [f"others kept up to {busy:.1f} of {least} cores busy during {which}"]


def _how_many(
    groups: Sequence[Sequence[RunRecord]], which: Callable[[RunRecord], bool]
) -> str | None:
    """``2 of 5 runs`` of the groups in which there is such a run."""
    marked = [record for group in groups if any(map(which, group)) for record in group]
    if not marked:
        return None
    number = sum(map(which, marked))
    return "the run" if len(marked) == 1 else f"{number} of {len(marked)} runs"


def machine_change(a: Sequence[RunRecord], b: Sequence[RunRecord]) -> MachineChange | None:
    """How much faster the machine itself was during `b` than during `a`, with its noise.

    From the lower 95 % bound of one of the two calibrations to the upper of the other, by Student's
    t over runs; with a single run on each side their noise is taken to be `DRIFT_BOUND`. ``None``
    where a side has no run with a probe.
    """
    logs_a, logs_b = _log_speeds(a), _log_speeds(b)
    if not logs_a or not logs_b:
        return None
    found = [
        _difference(one, other)
        for one, other in zip(zip(*logs_a, strict=True), zip(*logs_b, strict=True), strict=True)
    ]
    return MachineChange(
        low=min(middle - half for middle, half in found),
        high=max(middle + half for middle, half in found),
        moved=any(abs(middle) > _MOST_MOVED for middle, _ in found),
    )


def _log_speeds(records: Sequence[RunRecord]) -> list[tuple[float, ...]]:
    """Of each run with a probe, the logarithm of both calibrations, before and after averaged."""
    return [
        tuple(
            (math.log(before) + math.log(after)) / 2
            for before, after in zip(
                _speeds(run.canary.before), _speeds(run.canary.after), strict=True
            )
        )
        for run in records
        if run.canary
    ]


def _difference(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """The mean of `b` less that of `a`, and half the width of its interval."""
    middle, freedom = fmean(b) - fmean(a), len(a) + len(b) - 2
    if not freedom:
        return middle, _MOST_MOVED
    from scipy.special import stdtrit

    squares = sum((x - mean) ** 2 for side in (a, b) for mean in [fmean(side)] for x in side)
    error = math.sqrt(squares / freedom * (1 / len(a) + 1 / len(b)))
    return middle, float(stdtrit(freedom, 0.975)) * error


def _speeds(reading: CanaryReading) -> tuple[float, float]:
    return reading.matmul_flops_per_s, reading.copy_bytes_per_s
