"""What curves are drawn of, by epoch or step, and the lines that several runs are drawn as."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from mnistbench.analysis.free_metrics import free_metrics
from mnistbench.analysis.metrics import Metric
from mnistbench.analysis.number_text import goal
from mnistbench.output.charts.picture import Line, Scale
from mnistbench.schema.record import EvalPoint, RunRecord, TrainPoint
from mnistbench.stats.intervals import median_interval

_BAND_RUNS = 3
_FEWEST_SHARED = 2
_LOSS_WINDOWS = 100

Curve: TypeAlias = tuple[list[float], list[float]]
"""Epochs or steps, and the values there."""


class Quantity(NamedTuple):
    """What is drawn against epochs, or steps where not all loops count epochs.

    `form` is of the values at the ends of lines, if they are told; where it `falls` less is better;
    `goals` are targets of it.
    """

    name: str
    by: str
    label: str
    scale: Scale
    read: Callable[[RunRecord], Curve]
    form: str = ""
    falls: bool = False
    goals: Mapping[float, str] = MappingProxyType({})

    @property
    def title(self) -> str:
        """Such as ``val accuracy by epoch``."""
        return f"{self.label.removesuffix(' (%)')} by {self.by}"


def quantities_of(groups: Sequence[Sequence[RunRecord]]) -> list[Quantity]:
    """Accuracy and what else loops evaluated, on the split that steers, and training loss."""
    runs = [record for group in groups for record in group]
    told = all(point.epoch is not None for run in runs for point in run.eval_points)
    by = "epoch" if told else "step"
    found = [_accuracy(runs, by)]
    found += [_evaluated(name, metric, runs, by) for name, metric in free_metrics(groups).items()]
    found = [one for one in found if one.name != "accuracy" or one is found[0]]
    name = "training-loss" if any(one.name == "loss" for one in found) else "loss"
    return [*found, Quantity(name, by, "training loss", "log", partial(_loss_curve, by=by))]


def _accuracy(runs: Sequence[RunRecord], by: str) -> Quantity:
    read = partial(_evaluated_curve, metric="accuracy", by=by)
    splits = {str(run.eval_split) for run in runs if not run.is_foreign or read(run)[0]}
    goals = {100 * value: text for value, text in _goals("accuracy", runs).items()}
    label = f"{' / '.join(sorted(splits))} accuracy (%)"
    return Quantity("accuracy", by, label, "error", read, "{:.2f} %", goals=goals)


def _evaluated(name: str, metric: Metric, runs: Sequence[RunRecord], by: str) -> Quantity:
    """A metric by its own name; one of which less is better is logarithmic where it can be."""
    read, falls = partial(_evaluated_curve, metric=name, by=by), not metric.higher_is_better
    values = [value for run in runs for value in read(run)[1]]
    scale: Scale = "log" if falls and min(values, default=0.0) > 0 else "linear"
    file = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "metric"
    return Quantity(file, by, metric.label, scale, read, "{:.4g}", falls, _goals(name, runs))


def _goals(metric: str, runs: Sequence[RunRecord]) -> dict[float, str]:
    """The targets of `metric` that loops which are not ours had."""
    targets = (run.target for run in runs if run.is_foreign)
    return {t.value: goal(t) for t in targets if t and t.metric == metric}


def _evaluated_curve(record: RunRecord, metric: str, by: str) -> Curve:
    """What was evaluated of `metric` on the run's eval split; an accuracy in %."""
    scale = 100 if metric == "accuracy" else 1
    points = [
        (_place(point, by), scale * value)
        for point in record.eval_points
        if point.split == record.eval_split and (value := point.value_of(metric)) is not None
    ]
    return [x for x, _ in points], [y for _, y in points]


def _loss_curve(record: RunRecord, by: str) -> Curve:
    """The training loss as means over at most a hundred windows; batch noise would hide it."""
    points = [(_place(p, by), p.loss) for p in record.train_points if p.loss is not None]
    window = -(-len(points) // _LOSS_WINDOWS) or 1
    parts = [points[start : start + window] for start in range(0, len(points), window)]
    places = [part[-1][0] for part in parts]
    return places, [sum(loss for _, loss in part) / len(part) for part in parts]


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
