"""Scores worked out from a stored evaluation curve: any target, after the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mnistbench.schema.record import EvalPoint

__all__ = ["TimeToAccuracy", "time_to_accuracy"]


class TimeToAccuracy(NamedTuple):
    """Train-clock seconds and optimizer steps up to the first evaluation at the target."""

    time_s: float
    steps: int


def time_to_accuracy(
    eval_points: Sequence[EvalPoint], target_accuracy: float, *, split: str
) -> TimeToAccuracy | None:
    """When `split` first read `target_accuracy` or more; ``None`` if it never did.

    ``None`` means right-censored at the run's end: slower than the run was long, not missing.
    """
    for point in eval_points:
        diverged = point.loss is None  # what is counted from such logits is no accuracy
        if point.split == split and point.accuracy >= target_accuracy and not diverged:
            return TimeToAccuracy(point.train_s, point.step)
    return None
