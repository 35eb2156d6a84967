"""Scores worked out from stored evaluation curves: any target, after the run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import TypeAlias

from mnistbench.schema.record import EvalPoint, RunRecord, Target
from mnistbench.stats.readings import Reading

Asked: TypeAlias = Target | float | None
"""What runs are scored at: a target, an accuracy on their eval split, or what each was told."""


def target_of(record: RunRecord, asked: Asked = None) -> Target | None:
    """What is `asked` of `record`: by default its own target, if it has one."""
    if isinstance(asked, Target):
        return asked
    if asked is None and record.target is not None:
        return record.target
    accuracy = record.result.target_accuracy if asked is None else asked
    if accuracy is None:
        accuracy = record.own_config.get("target_accuracy")
    if accuracy is None:
        return None
    return Target(metric="accuracy", value=accuracy, split=record.eval_split or "val")


def told_target(group: Sequence[RunRecord]) -> Target | None:
    """The target that the runs of `group` were told, by the first that says one."""
    return next(filter(None, map(target_of, group)), None)


def end_s(record: RunRecord) -> float:
    """The train clock at the end of `record`'s run, whatever ended it.

    Of a run beside others it is what its steps would have taken alone, where that was measured.
    """
    if record.window_step_s:
        return record.num_steps * median(record.window_step_s)
    return max([record.train_s, *(point.train_s for point in record.eval_points)])


def reading_to_target(record: RunRecord, target: Target, *, steps: bool = False) -> Reading:
    """Train-clock seconds, or optimizer `steps`, of one run to `target`.

    The run got there after its last evaluation that missed it, and at the latest at the first at it
    that the next one confirms: a single evaluation is noisy, and of many one is lucky. A run that
    did not get there is right-censored at its end; one that diverged never would have. Where no
    evaluation is kept, the record's own time to its target stands for all up to that.

    Seconds of a run beside others are its steps times the seconds per step of its configuration
    alone, where these were measured.
    """
    if record.window_step_s and not steps:
        return reading_to_target(record, target, steps=True).times(record.window_step_s)
    points = _points(record, target)
    own = None if points else _own(record, target, steps=steps)
    if own is not None:
        return Reading(0.0, float(own))
    there = [target.is_reached_by(point) for point in points]
    clock = [float(point.step) if steps else point.train_s for point in points]
    if True in there:
        first = there.index(True)
        twice = (i for i, at in enumerate(there) if at and all(there[i : i + 2]))
        confirmed = next(twice, first)
        return Reading(clock[first - 1] if first else 0.0, clock[confirmed])
    end = record.num_steps if steps else end_s(record)
    return Reading(math.inf if record.status == "diverged" else end, math.inf)


def is_never_evaluated(record: RunRecord, target: Target) -> bool:
    """Whether a loop that is not ours evaluated, but never what `target` is of."""
    values = (point.value_of(target.metric) for point in record.eval_points)
    return record.is_foreign and bool(record.eval_points) and not any(x is not None for x in values)


def fell_again(record: RunRecord, asked: Asked = None) -> bool:
    """Whether the evaluation after the first at its target missed it."""
    target = target_of(record, asked)
    there = [target.is_reached_by(p) for p in _points(record, target)] if target else []
    return True in there and not all(there[there.index(True) :][:2])


def _points(record: RunRecord, target: Target) -> list[EvalPoint]:
    """The evaluations of what `target` is of; of other metrics there may be more."""
    return [
        p
        for p in record.eval_points
        if p.split == target.split
        and (p.diverged or target.metric in p.metrics or p.value_of(target.metric) is not None)
    ]


def _own(record: RunRecord, target: Target, *, steps: bool) -> float | None:
    """The time, or `steps`, that `record` itself says, if it was told no less than `target`."""
    told = target_of(record)
    if told is None or (told.metric, told.split) != (target.metric, target.split):
        return None
    ahead = told.value - target.value
    if (ahead if target.higher_is_better else -ahead) < 0:
        return None
    result = record.result
    if steps:
        return told.steps if result.steps_to_accuracy is None else result.steps_to_accuracy
    return told.time_s if result.time_to_accuracy_s is None else result.time_to_accuracy_s
