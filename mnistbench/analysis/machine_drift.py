"""By how much a machine's own speed moved: during a run, and between two sets of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from mnistbench.schema.record import Canary, RunRecord

DRIFT_BOUND = 0.25
"""Change of the machine's own speed beyond which a run's times are marked as unstable.

On an idle machine of two shared cores, two readings half a minute apart differ by up to 5 % in the
matrix product and 20 % in the copy; a neighbour on one of the cores takes more than this.
"""

_MOST_MOVED = math.log1p(DRIFT_BOUND)


class MachineChange(NamedTuple):
    """By how much a machine became faster, as logarithms; `moved`: by more than `DRIFT_BOUND`."""

    low: float
    high: float
    moved: bool


def drift(canary: Canary) -> float:
    """The larger change of the two calibrations from before to after the run, as a fraction.

    Of the slower of the two readings, so that it is the same whichever came first.
    """
    return max(max(both) / min(both) - 1 for both in _calibrations(canary))


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
    known = [_calibrations(run.canary) for run in records if run.canary]
    return [tuple(sum(map(math.log, both)) / 2 for both in found) for found in known]


def _difference(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """The mean of `b` less that of `a`, and half the width of its interval."""
    middle, freedom = fmean(b) - fmean(a), len(a) + len(b) - 2
    if not freedom:
        return middle, _MOST_MOVED
    from scipy.special import stdtrit

    squares = sum((x - mean) ** 2 for side in (a, b) for mean in [fmean(side)] for x in side)
    error = math.sqrt(squares / freedom * (1 / len(a) + 1 / len(b)))
    return middle, float(stdtrit(freedom, 0.975)) * error


def _calibrations(canary: Canary) -> list[tuple[float, float]]:
    """What each of the two says, before and after the run."""
    before, after = canary.before, canary.after
    names = ("matmul_flops_per_s", "copy_bytes_per_s")
    return [(getattr(before, name), getattr(after, name)) for name in names]
