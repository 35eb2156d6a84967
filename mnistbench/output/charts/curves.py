"""Curves of runs by epoch or step, and the lines that several runs are drawn as."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, TypeAlias

from mnistbench.output.charts.picture import Line
from mnistbench.schema.record import EvalPoint, RunRecord, TrainPoint
from mnistbench.stats.intervals import median_interval

__all__ = ["Curve", "evaluated_curve", "lines_of", "loss_curve", "shared_axis", "thinned"]

_BAND_RUNS = 3
_FEWEST_SHARED = 2
_LOSS_WINDOWS = 100

Curve: TypeAlias = tuple[list[float], list[float]]
"""Epochs or steps, and the values there."""


def evaluated_curve(record: RunRecord, metric: str, by: str) -> Curve:
    """What was evaluated of `metric` on the run's eval split; an accuracy in %."""
    scale = 100 if metric == "accuracy" else 1
    points = [
        (_place(point, by), scale * value)
        for point in record.eval_points
        if point.split == record.eval_split and (value := point.value_of(metric)) is not None
    ]
    return [x for x, _ in points], [y for _, y in points]


def loss_curve(record: RunRecord, by: str) -> Curve:
    """The training loss as means over at most a hundred windows; batch noise would hide it."""
    points = [(_place(p, by), p.loss) for p in record.train_points if p.loss is not None]
    window = -(-len(points) // _LOSS_WINDOWS) or 1
    parts = [points[start : start + window] for start in range(0, len(points), window)]
    places = [part[-1][0] for part in parts]
    return places, [sum(loss for _, loss in part) / len(part) for part in parts]


def shared_axis(records: Iterable[RunRecord]) -> str:
    """What all points of all `records` tell: their epoch, or else their step."""
    told = all(point.epoch is not None for record in records for point in record.eval_points)
    return "epoch" if told else "step"


def _place(point: EvalPoint | TrainPoint, by: str) -> float:
    return float(point.step if by == "step" or point.epoch is None else point.epoch)


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
