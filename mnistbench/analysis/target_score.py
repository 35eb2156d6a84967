"""How fast the runs of one configuration got to one target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mnistbench.analysis.repeats import one_per_seed
from mnistbench.analysis.scoring import end_s, reading_to_target
from mnistbench.schema.record import RunRecord
from mnistbench.stats.expected_time import expected_running_time
from mnistbench.stats.readings import Level
from mnistbench.stats.survival import median_reading

__all__ = ["TargetScore", "score_target", "told_target"]


def told_target(group: Sequence[RunRecord]) -> float | None:
    """The target accuracy that the runs of `group` were told, by the first whose result says it."""
    return next((t for run in group if (t := run.result.target_accuracy) is not None), None)


class TargetScore(NamedTuple):
    """How fast a group of runs got to one target: medians over seeds, and the expected time."""

    time_s: Level
    steps: Level
    expected_s: Level


def score_target(group: Sequence[RunRecord], target: float) -> TargetScore:
    """Median time and steps of `group` to `target`, and the expected time.

    A diverged run counts in the medians as never there (see `at_risk`); the expected time charges
    it the seconds that it really took.

    Raises:
        ValueError: `group` is empty.
    """
    group = one_per_seed(group)
    times = [reading_to_target(record, target) for record in group]
    steps = [reading_to_target(record, target, steps=True) for record in group]
    spent_s = [t.value if t.reached else end_s(r) for t, r in zip(times, group, strict=True)]
    return TargetScore(
        time_s=median_reading(times),
        steps=median_reading(steps),
        expected_s=expected_running_time(spent_s, [time.reached for time in times]),
    )
