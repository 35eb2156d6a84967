"""Scores worked out from stored evaluation curves: any target, after the run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from mnistbench.analysis.survival import (
    CensoredMedian,
    ExpectedTime,
    expected_running_time,
    kaplan_meier_median,
)
from mnistbench.schema.record import EvalPoint, RunRecord

__all__ = [
    "Reading",
    "TargetScore",
    "TimeToAccuracy",
    "at_risk",
    "end_s",
    "median_reading",
    "point_at_target",
    "reading_to_target",
    "score_target",
    "time_to_accuracy",
]


class TimeToAccuracy(NamedTuple):
    """Train-clock seconds and optimizer steps up to the first evaluation at the target."""

    time_s: float
    steps: int


class Reading(NamedTuple):
    """One figure of one run; not `reached` means right-censored: more than `value`."""

    value: float
    reached: bool = True


class TargetScore(NamedTuple):
    """How fast a group of runs got to one target: medians over seeds, and the expected time."""

    target: float
    time_s: CensoredMedian
    steps: CensoredMedian
    expected_s: ExpectedTime


def time_to_accuracy(
    eval_points: Sequence[EvalPoint], target_accuracy: float, *, split: str
) -> TimeToAccuracy | None:
    """When `split` first read `target_accuracy` or more; ``None`` if it never did.

    ``None`` means right-censored at the run's end: slower than the run was long, not missing.
    """
    point = point_at_target(eval_points, target_accuracy, split=split)
    return TimeToAccuracy(point.train_s, point.step) if point else None


def point_at_target(
    eval_points: Sequence[EvalPoint], target_accuracy: float, *, split: str
) -> EvalPoint | None:
    """The first evaluation on `split` at or over `target_accuracy`, or ``None``."""
    for point in eval_points:
        diverged = point.loss is None  # what is counted from such logits is no accuracy
        if point.split == split and point.accuracy >= target_accuracy and not diverged:
            return point
    return None


def end_s(record: RunRecord) -> float:
    """The train clock at the end of `record`'s run, whatever ended it."""
    evaluated = [point.train_s for point in record.eval_points]
    return max([record.phases_s.get("train", 0.0), *evaluated])


def reading_to_target(record: RunRecord, target: float, *, steps: bool = False) -> Reading:
    """Train-clock seconds, or optimizer `steps`, of one run to `target` on its eval split.

    A run that did not get there is right-censored at its end; one that diverged would not have got
    there in any time: at infinity.
    """
    split = str(record.config.get("eval_split"))
    score = time_to_accuracy(record.eval_points, target, split=split)
    if score is not None:
        return Reading(score.steps if steps else score.time_s)
    if record.status == "diverged":
        return Reading(math.inf, reached=False)
    return Reading(record.num_steps if steps else end_s(record), reached=False)


def at_risk(
    readings: Sequence[Reading], *, among: Sequence[Reading]
) -> tuple[list[float], list[bool]]:
    """Times for survival analysis, and whether they were reached.

    What never gets there stays at risk to the longest time `among` all that are compared, as
    competing risks do (Gooley et al. 1999): to censor it where it broke off would spread its share
    over the runs that went well.
    """
    longest = max((r.value for r in among if math.isfinite(r.value)), default=0.0)
    return [min(r.value, longest) for r in readings], [r.reached for r in readings]


def median_reading(readings: Sequence[Reading]) -> CensoredMedian:
    """Kaplan and Meier's median (1958) of `readings`, with its 95 % interval.

    Raises:
        ValueError: there are none.
    """
    values, reached = at_risk(readings, among=readings)
    if len(values) == 1:  # has no interval that would be worth the import of scipy
        return CensoredMedian(values[0] if reached[0] else None, None, None, sum(reached), 1)
    return kaplan_meier_median(values, reached)


def score_target(group: Sequence[RunRecord], target: float) -> TargetScore:
    """Median time and steps of `group` to `target`, and the expected time.

    A diverged run counts in the medians as never there (see `at_risk`); the expected time charges
    it the seconds that it really took.

    Raises:
        ValueError: `group` is empty.
    """
    times = [reading_to_target(record, target) for record in group]
    steps = [reading_to_target(record, target, steps=True) for record in group]
    spent_s = [t.value if t.reached else end_s(r) for t, r in zip(times, group, strict=True)]
    return TargetScore(
        target=target,
        time_s=median_reading(times),
        steps=median_reading(steps),
        expected_s=expected_running_time(spent_s, [time.reached for time in times]),
    )
