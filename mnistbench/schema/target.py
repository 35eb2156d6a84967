"""The target of a run: a metric that is evaluated, the value to reach, and which way is better."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field

from mnistbench.schema.measurements import EvalPoint
from mnistbench.schema.open_mappings import FreeName, MetricName
from mnistbench.schema.strict_model import StrictModel

LOWER_IS_BETTER = frozenset({"loss", "perplexity", "error", "error_rate", "mae", "mse", "rmse"})
"""Last parts of metrics' names, such as ``val/loss``, of which less is better."""


def is_loss(metric: str) -> bool:
    """Whether `metric` is a loss by its name, such as ``val/loss``."""
    return f"_{_last(metric)}".endswith("_loss")


def is_lower_better(metric: str) -> bool:
    """Whether less of `metric` is better, by its name."""
    return _last(metric) in LOWER_IS_BETTER or is_loss(metric)


def _last(metric: str) -> str:
    return metric.replace(":", "/").rpartition("/")[2].lower()


def _is_higher_better(told: dict[str, Any]) -> bool:
    return not is_lower_better(told.get("metric", ""))


class Target(StrictModel):
    """What a run is to reach, and when it did; ``None`` where it never was there."""

    metric: MetricName
    """Name of the metric: ``accuracy``, ``loss``, or one of an evaluation's `metrics`."""
    value: Annotated[float, Field(allow_inf_nan=False)]
    """The value to reach."""
    higher_is_better: bool = Field(default_factory=_is_higher_better)
    """Whether it is reached from below. Default: as the metric's name says."""
    split: FreeName = "val"
    """The split whose evaluations count."""
    time_s: float | None = Field(None, ge=0)
    """The train clock of the first evaluation there [seconds]."""
    steps: int | None = Field(None, ge=0)
    """Its step."""

    @property
    def accuracy(self) -> float | None:
        """The value, if it is of the accuracy."""
        return self.value if self.metric == "accuracy" else None

    def is_reached_by(self, point: EvalPoint) -> bool:
        """Whether `point` is on its split and there; one whose loss is not finite never is."""
        value = point.value_of(self.metric)
        if point.split != self.split or value is None or point.diverged:
            return False
        return value >= self.value if self.higher_is_better else value <= self.value


def point_at_target(points: Iterable[EvalPoint], target: Target) -> EvalPoint | None:
    """The first of `points` that reaches `target`, or ``None``.

    ``None`` means right-censored at the run's end: slower than the run was long, not missing.
    """
    return next(filter(target.is_reached_by, points), None)
