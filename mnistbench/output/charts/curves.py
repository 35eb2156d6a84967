"""Curves of runs by epoch, and the lines that several runs are drawn as."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any, TypeAlias

from mnistbench.output.charts.picture import Line
from mnistbench.schema.record import RunRecord
from mnistbench.stats.intervals import median_interval

__all__ = ["Curve", "accuracy_curve", "lines_of", "loss_curve", "thinned"]

_BAND_RUNS = 3
_FEWEST_SHARED = 2
_LOSS_WINDOWS = 100

Curve: TypeAlias = tuple[list[float], list[float]]
"""Epochs, and the values there."""


def accuracy_curve(record: RunRecord) -> Curve:
    """The accuracy on the run's eval split [%]."""
    points = [p for p in record.eval_points if p.split == record.config.get("eval_split")]
    return [p.epoch for p in points], [100 * p.accuracy for p in points]


def loss_curve(record: RunRecord) -> Curve:
    """The training loss as means over at most a hundred windows; batch noise would hide it."""
    points = [(p.epoch, p.loss) for p in record.train_points if p.loss is not None]
    window = -(-len(points) // _LOSS_WINDOWS) or 1
    parts = [points[start : start + window] for start in range(0, len(points), window)]
    epochs = [part[-1][0] for part in parts]
    return epochs, [sum(loss for _, loss in part) / len(part) for part in parts]


def lines_of(curves: Sequence[Curve], *, points: int, **marked: Any) -> list[Line]:
    """The median of `curves` at the evaluations that all share, and its band; else each apart.

    They share enough where two are among them and the last of each. From three runs on the band is
    the median's 95 % interval (`median_interval`) or, below six runs, from the smallest to the
    largest. Lines have at most so many `points`, and what is `marked`.
    """
    shared = _at_shared(curves)
    if not shared:
        thin = [thinned(curve, points) for curve in curves]
        return [Line(xs=xs, ys=ys, kind="thin", **marked) for xs, ys in thin]
    thin = [thinned(curve, points) for curve in shared]
    epochs, columns = thin[0][0], list(zip(*(values for _, values in thin), strict=True))
    if len(curves) >= _BAND_RUNS:
        low, high = zip(*map(_band, columns), strict=True)
        marked |= {"low": low, "high": high}
    return [Line(xs=epochs, ys=[median(column) for column in columns], **marked)]


def thinned(curve: Curve, points: int) -> Curve:
    """`curve` at so many evenly spaced `points`, with its ends, where no more could be seen."""
    last = len(curve[0]) - 1
    if last < points:
        return curve
    kept = [round(index * last / (points - 1)) for index in range(points)]
    return [curve[0][index] for index in kept], [curve[1][index] for index in kept]


def _at_shared(curves: Sequence[Curve]) -> Sequence[Curve]:
    """`curves` at the epochs that all have; none where they share too few (`lines_of`)."""
    first = curves[0][0]
    if all(epochs == first for epochs, _ in curves):
        return curves
    shared = set(first).intersection(*(epochs for epochs, _ in curves))
    if len(shared) < _FEWEST_SHARED or any(epochs[-1] not in shared for epochs, _ in curves):
        return []
    kept = [[point for point in zip(*curve, strict=True) if point[0] in shared] for curve in curves]
    return [([epoch for epoch, _ in its], [value for _, value in its]) for its in kept]


def _band(values: Sequence[float]) -> tuple[float, float]:
    found = median_interval(values)
    if found.low is None or found.high is None:
        return min(values), max(values)
    return found.low, found.high
