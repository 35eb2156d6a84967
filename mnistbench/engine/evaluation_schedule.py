"""When a run is evaluated: every so many steps, at each epoch's end, or more often up to a target.

A time to a target is known no finer than the evaluations before and at it lie apart, and that is an
epoch, mostly far more than runs differ by. So up to the target a step is evaluated when it is a
fixed share past the last. What is due is derived from the evaluations that were made: a run that
goes on from a checkpoint does as if it had not stopped, and so does each of several processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import EvalPoint

SPACING = 0.05
"""Near the target, steps from an evaluation to the next as a share of those to the next.

These are 45 evaluations for each tenfold of the steps.
"""

_FAR_SPACING = 0.2
"""The same far from the target, where evaluations would cost more than training, for nothing."""

_FAR_ERRORS, _NEAR_ERROR = 2.0, 0.01
"""Far is an error of more than so many times the target's, and of more than that."""

_FIRST_STEP = round(1 / SPACING)

ScheduleName = Literal["steps", "epoch", "target"]


def schedule_name(config: RunConfig) -> ScheduleName:
    """How the runs of `config` are evaluated; a recipe keeps what its source did."""
    if config.eval_every_steps:
        return "steps"
    return "epoch" if config.target_accuracy is None or config.recipe else "target"


def describe_schedule(config: RunConfig) -> dict[str, Any]:
    """What a record's environment says of it: its name, and the spacing up to a target."""
    name = schedule_name(config)
    return {"eval_schedule": name, "eval_spacing": SPACING if name == "target" else None}


@dataclass(frozen=True, kw_only=True)
class EvaluationSchedule:
    """Which steps of a run of `num_steps` are evaluated."""

    config: RunConfig
    steps_per_epoch: int
    num_steps: int

    def is_due(self, step: int, points: Sequence[EvalPoint]) -> bool:
        """Whether `step` is to be evaluated, after the evaluations `points`."""
        return step > self._last_step(points) and step >= self.next_step(points)

    def next_step(self, points: Sequence[EvalPoint]) -> int:
        """The step to evaluate next, or the last of the run once that was evaluated."""
        last = self._last_step(points)
        every = self.config.eval_every_steps or self.steps_per_epoch
        regular = min(every * (last // every + 1), self.num_steps)
        if schedule_name(self.config) != "target":
            return regular
        sooner = self._next_by_spacing(points)
        return sooner if sooner < regular and not self._was_reached(points) else regular

    def _next_by_spacing(self, points: Sequence[EvalPoint]) -> int:
        """The last step that is not too far from the last evaluation."""
        last = self._last_point(points)
        if last is None:
            return _FIRST_STEP
        near = max(_FAR_ERRORS * (1 - (self.config.target_accuracy or 1.0)), _NEAR_ERROR)
        spacing = _FAR_SPACING if 1 - (last.accuracy or 0.0) > near else SPACING
        return max(int(last.step / (1 - spacing)), last.step + 1)

    def _was_reached(self, points: Sequence[EvalPoint]) -> bool:
        """Whether the target was read twice in a row: one evaluation of many may be lucky."""
        target, split = self.config.target, self.config.eval_split
        there = [target and target.is_reached_by(p) for p in points if p.split == split]
        return any(map(all, pairwise(there)))

    def _last_step(self, points: Sequence[EvalPoint]) -> int:
        last = self._last_point(points)
        return last.step if last else 0

    def _last_point(self, points: Sequence[EvalPoint]) -> EvalPoint | None:
        """The last on the split that steers."""
        split = self.config.eval_split
        return next((point for point in reversed(points) if point.split == split), None)
