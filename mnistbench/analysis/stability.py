"""Whether the machine held still and was the run's own while it was measured, by the records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from mnistbench.schema.record import Canary, CanaryReading, RunRecord

__all__ = [
    "DRIFT_BOUND",
    "UNSTABLE_MARK",
    "drift",
    "is_unstable",
    "level_difference",
    "mark_notes",
    "ran_beside_others",
    "time_mark",
]

DRIFT_BOUND = 0.25
"""Change of the machine's own speed beyond which a run's times are marked as unstable.

On an idle machine of two shared cores, two readings half a minute apart differ by up to 5 % in the
matrix product and 20 % in the copy; a neighbour on one of the cores takes more than this.
"""

UNSTABLE_MARK = "†"
_BESIDE_MARK = "‡"


def drift(canary: Canary) -> float:
    """The larger change of the two calibrations from before to after the run, as a fraction."""
    return max(
        abs(after / before - 1)
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


def time_mark(group: Sequence[RunRecord]) -> str:
    """What follows each time and speed of `group`: what made them mean less, or nothing."""
    unstable, beside = any(map(is_unstable, group)), any(map(ran_beside_others, group))
    return UNSTABLE_MARK * unstable + _BESIDE_MARK * beside


def mark_notes(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """What the marks on times mean, where one was set."""
    change = f"the machine's own speed moved by more than {100 * DRIFT_BOUND:g} %"
    moved, beside = (_how_many(groups, which) for which in (is_unstable, ran_beside_others))
    lines = [f"{UNSTABLE_MARK} {change} during {moved}: these times are unstable"] if moved else []
    if beside:
        lines.append(f"{_BESIDE_MARK} measured beside other runs ({beside}): no time verdict")
    return lines


def _how_many(
    groups: Sequence[Sequence[RunRecord]], which: Callable[[RunRecord], bool]
) -> str | None:
    """``2 of 5 runs`` of the groups in which there is such a run."""
    marked = [record for group in groups if any(map(which, group)) for record in group]
    if not marked:
        return None
    number = sum(map(which, marked))
    return "the run" if len(marked) == 1 else f"{number} of {len(marked)} runs"


def level_difference(a: Sequence[RunRecord], b: Sequence[RunRecord]) -> float | None:
    """How much faster the machine itself was during `b` than during `a`, as a fraction of `a`.

    The calibration that moved more, medians over runs; ``None`` where no run has a canary.
    """
    levels_a, levels_b = _levels(a), _levels(b)
    if levels_a is None or levels_b is None:
        return None
    changes = [after / before - 1 for before, after in zip(levels_a, levels_b, strict=True)]
    return max(changes, key=abs)


def _levels(records: Sequence[RunRecord]) -> tuple[float, ...] | None:
    """The median matrix product and copy speed over all readings of `records`."""
    readings = [
        reading
        for record in records
        if record.canary
        for reading in (record.canary.before, record.canary.after)
    ]
    if not readings:
        return None
    return tuple(median(column) for column in zip(*map(_speeds, readings), strict=True))


def _speeds(reading: CanaryReading) -> tuple[float, float]:
    return reading.matmul_flops_per_s, reading.copy_bytes_per_s
