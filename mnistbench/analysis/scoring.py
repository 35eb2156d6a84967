"""Scores worked out from stored evaluation curves: any target, after the run."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mnistbench.schema.record import EvalPoint, RunRecord
from mnistbench.stats.readings import Reading

__all__ = ["end_s", "fell_again", "point_at_target", "reading_to_target"]


def point_at_target(
    eval_points: Sequence[EvalPoint], target_accuracy: float, *, split: str
) -> EvalPoint | None:
    """The first evaluation on `split` at or over `target_accuracy`, or ``None``.

    ``None`` means right-censored at the run's end: slower than the run was long, not missing.
    """
    at_target = (p for p in eval_points if p.split == split and _is_at(p, target_accuracy))
    return next(at_target, None)


def end_s(record: RunRecord) -> float:
    """The train clock at the end of `record`'s run, whatever ended it."""
    evaluated = [point.train_s for point in record.eval_points]
    return max([record.phases_s.get("train", 0.0), *evaluated])


def reading_to_target(record: RunRecord, target: float, *, steps: bool = False) -> Reading:
    """Train-clock seconds, or optimizer `steps`, of one run to `target` on its eval split.

    The run got there after its last evaluation below the target, and at the latest at the first at
    it that the next one confirms: a single evaluation is noisy, and of many one is lucky. A run
    that did not get there is right-censored at its end; one that diverged never would have. Where
    no evaluation is kept, the record's own time to its target stands for all up to that.
    """
    split = str(record.config.get("eval_split"))
    points = [point for point in record.eval_points if point.split == split]
    if not points and target <= (record.result.target_accuracy or 0.0):
        own = record.result.steps_to_accuracy if steps else record.result.time_to_accuracy_s
        if own is not None:
            return Reading(0.0, float(own))
    there = [_is_at(point, target) for point in points]
    clock = [float(point.step) if steps else point.train_s for point in points]
    if True in there:
        first = there.index(True)
        twice = (i for i, at in enumerate(there) if at and all(there[i : i + 2]))
        confirmed = next(twice, first)
        return Reading(clock[first - 1] if first else 0.0, clock[confirmed])
    end = record.num_steps if steps else end_s(record)
    return Reading(math.inf if record.status == "diverged" else end, math.inf)


def fell_again(record: RunRecord, target: float) -> bool:
    """Whether the evaluation after the first at `target` was below it."""
    split = str(record.config.get("eval_split"))
    there = [_is_at(p, target) for p in record.eval_points if p.split == split]
    return True in there and not all(there[there.index(True) :][:2])


def _is_at(point: EvalPoint, target: float) -> bool:
    diverged = point.loss is None  # what is counted from such logits is no accuracy
    return point.accuracy >= target and not diverged
