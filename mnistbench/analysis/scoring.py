"""Scores worked out from stored evaluation curves: any target, after the run."""

from __future__ import annotations

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
    "TargetScore",
    "TimeToAccuracy",
    "end_s",
    "point_at_target",
    "score_target",
    "time_to_accuracy",
    "times_to_target",
]


class TimeToAccuracy(NamedTuple):
    """Train-clock seconds and optimizer steps up to the first evaluation at the target."""

    time_s: float
    steps: int


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


def times_to_target(group: Sequence[RunRecord], target: float) -> tuple[list[float], list[bool]]:
    """Train-clock seconds of each run to `target` on its eval split, and whether it got there.

    A run that did not is right-censored: its time is that of its end, be it completed, diverged,
    interrupted or failed.
    """
    scores = [_score(record, target) for record in group]
    times = [s.time_s if s else end_s(r) for r, s in zip(group, scores, strict=True)]
    return times, [score is not None for score in scores]


def score_target(group: Sequence[RunRecord], target: float) -> TargetScore:
    """Median time and steps of `group` to `target` with 95 % intervals, and the expected time.

    Medians are Kaplan and Meier's (1958). A diverged run would not have got there in any time: it
    stays at risk to the end of the longest run, as competing risks do (Gooley et al. 1999), since
    censoring it where it broke off would spread its share over the runs that went well. The
    expected time charges it the seconds that it really took.

    Raises:
        ValueError: `group` is empty.
    """
    times, reached = times_to_target(group, target)
    scores = [_score(record, target) for record in group]
    steps = [float(s.steps if s else r.num_steps) for r, s in zip(group, scores, strict=True)]
    lost = [
        record.status == "diverged" and not got for record, got in zip(group, reached, strict=True)
    ]
    return TargetScore(
        target=target,
        time_s=_median(_kept_at_risk(times, lost), reached),
        steps=_median(_kept_at_risk(steps, lost), reached),
        expected_s=expected_running_time(times, reached),
    )


def _score(record: RunRecord, target: float) -> TimeToAccuracy | None:
    return time_to_accuracy(record.eval_points, target, split=str(record.config.get("eval_split")))


def _median(values: Sequence[float], reached: Sequence[bool]) -> CensoredMedian:
    if len(values) == 1:  # has no interval that would be worth the import of scipy
        return CensoredMedian(values[0] if reached[0] else None, None, None, sum(reached), 1)
    return kaplan_meier_median(values, reached)


def _kept_at_risk(values: Sequence[float], lost: Sequence[bool]) -> list[float]:
    longest = max(values)
    return [longest if is_lost else value for value, is_lost in zip(values, lost, strict=True)]
