"""The figures of a comparison as text: what cells, headlines and gates say."""

from __future__ import annotations

import math

from mnistbench.analysis.metrics import Level, Metric
from mnistbench.analysis.number_text import NOT_MEASURED, goal
from mnistbench.analysis.rows import Row
from mnistbench.stats.rank_tests import Shift

__all__ = [
    "change_text",
    "label_text",
    "needed_text",
    "number_text",
    "shift_text",
    "value_text",
    "verdict_text",
]


def label_text(row: Row) -> str:
    """What was measured: ``samples/s``, ``time to 97 %``."""
    metric, target = row.definition, row.target
    if not metric.to_target:
        return metric.label
    return f"{metric.label} to {goal(target)}"


def value_text(level: Level, metric: Metric) -> str:
    """An estimate with its unit, and how many values it is of, or how many got there."""
    if not level.n:
        return NOT_MEASURED
    number = f"{level.reached} of {level.n}" if metric.to_target else f"n = {level.n}"
    if level.value is None:
        return f"not reached ({number})"
    if level.above == 0 and level.at_most is not None:
        return f"≤ {metric.show(level.at_most)}{metric.unit} ({number})"
    return f"{metric.show(level.value)}{metric.unit} ({number})"


def verdict_text(row: Row) -> str:
    """The verdict, of figures other than accuracies with which way is better."""
    return row.definition.with_sense(row.verdict)


def change_text(row: Row, *, prefix: str = "95 % interval ") -> str:
    """The change from A to B with its interval: ``-5.1 % (95 % interval -6.0 to -4.2)``."""
    if row.change is None:
        return _unreached(row)
    return shift_text(row.change, row.definition, prefix=prefix)


def shift_text(change: Shift, metric: Metric, *, prefix: str = "95 % interval ") -> str:
    """A change of `metric` with its interval, where it has one; ∞ is an end without a bound."""
    estimate, low, high = (None if x is None else _signed(x, metric) for x in change)
    interval = f" ({prefix}{low or '-∞'} to {high or '∞'})" if low or high else ""
    return f"{estimate}{metric.change_unit}{interval}"


def number_text(row: Row, counted: str) -> str:
    """How many values were compared: ``n = 10 pairs``, ``n = 10 and 12 seeds``."""
    if row.sample is not None and row.sample.in_pairs:
        return f"n = {row.sample.n} pairs"
    if counted == "seeds":
        counted = f"{row.definition.independent}s"
    if row.a.n == row.b.n:
        return f"n = {row.a.n} each" if row.a.n == 1 else f"n = {row.a.n} {counted} each"
    return f"n = {row.a.n} and {row.b.n} {counted}"


def needed_text(row: Row) -> str:
    """How many more runs of each side it takes, where that was worked out."""
    if row.more_runs is None:
        return NOT_MEASURED
    if not row.spread_known:
        return f"at least {row.more_runs} more each" if row.more_runs else NOT_MEASURED
    size = row.definition.change_text(row.definition.worth_seeing)
    return f"{row.more_runs or 'no'} more each to see {size}"


def _unreached(row: Row) -> str:
    if row.a.value is not None and row.b.n and row.definition.to_target:
        return f"not reached by {row.names[1]}"
    if row.b.value is not None and row.a.n and row.definition.to_target:
        return f"not reached by {row.names[0]}"
    return NOT_MEASURED


def _signed(change: float, metric: Metric) -> str:
    if not math.isfinite(change):
        return NOT_MEASURED
    digits = ".1f" if metric.ratio else metric.digits
    return f"{(100 if metric.change_unit else 1) * change:+{digits}}"
