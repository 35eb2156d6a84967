"""Curves by epoch as lines with their bands, on any axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

from mnistbench.output.charts.style import COLOURS
from mnistbench.schema.record import RunRecord
from mnistbench.stats.intervals import median_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "FEW",
    "Curve",
    "accuracy_curve",
    "at_shared",
    "draw_curves",
    "final_accuracy",
    "look",
    "loss_curve",
    "median_curve",
    "scale_by_error",
    "set_accuracy_ticks",
    "set_epoch_ticks",
]

FEW = len(COLOURS)
"""Lines that are told apart by their colour alone."""

_LINES = ("-", "--", ":", "-.")
_MARKERS = "os^Dv<>P"
_MARKERS_A_LINE = 10
_BAND_RUNS = 3
_FEWEST_SHARED = 2
_LOSS_WINDOWS = 100
_SEVERAL = 1.5  # epochs
_ONE_IMAGE = 0.01  # in percent of ten thousand; added to errors, so that none is 0
_TICKS = (0, 20, 50, 70, 80, 90, 95, 97, 98, 99, 99.5, 99.8, 99.9, 100)

Curve: TypeAlias = tuple[list[float], list[float]]
"""Epochs, and the values there."""


def accuracy_curve(record: RunRecord) -> Curve:
    """The accuracy on the run's eval split [%]."""
    points = [p for p in record.eval_points if p.split == record.config.get("eval_split")]
    return [p.epoch for p in points], [100 * p.accuracy for p in points]


def final_accuracy(curves: Sequence[Curve]) -> float | None:
    """The median of the curves' ends; ``None`` if none has a point."""
    ends = [values[-1] for _, values in curves if values]
    return median(ends) if ends else None


def loss_curve(record: RunRecord) -> Curve:
    """The training loss as means over at most a hundred windows; batch noise would hide it."""
    points = [(p.epoch, p.loss) for p in record.train_points if p.loss is not None]
    window = -(-len(points) // _LOSS_WINDOWS) or 1
    parts = [points[start : start + window] for start in range(0, len(points), window)]
    epochs = [part[-1][0] for part in parts]
    return epochs, [sum(loss for _, loss in part) / len(part) for part in parts]


def look(index: int) -> dict[str, Any]:
    """Colour, line and marker of a line: 56 before any two are the same."""
    return {
        "color": COLOURS[index % FEW],
        "linestyle": _LINES[index // FEW % len(_LINES)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": 3.5,
    }


def scale_by_error(axes: Axes) -> None:
    """Heights by the logarithm of the error, or all that is near 100 % would be one line."""
    import numpy as np

    def height(accuracy: Any) -> Any:
        return -np.log10(np.maximum(100.0 + _ONE_IMAGE - accuracy, _ONE_IMAGE / 2))

    axes.set_yscale("function", functions=(height, lambda y: 100.0 + _ONE_IMAGE - 10.0**-y))
    axes.yaxis.set_major_formatter("{x:g}")


def set_accuracy_ticks(axes: Axes, *, apart: float) -> None:
    """Ticks at round accuracies within the view, at least this share of the axis `apart`."""
    bounds = axes.get_ylim()
    within = [tick for tick in _TICKS if bounds[0] <= tick <= bounds[1]]
    low, *heights, high = axes.transData.transform(
        [(0, y) for y in (bounds[0], *within, bounds[1])]
    )
    ticks: list[float] = []
    last = math.inf
    for tick, (_, height) in reversed(list(zip(within, heights, strict=True))):
        if last - height >= apart * (high[1] - low[1]):
            ticks.append(tick)
            last = height
    axes.set_yticks(ticks)


def set_epoch_ticks(axes: Axes, *, at_most: int) -> None:
    """Ticks at whole epochs, where the view is of several."""
    from matplotlib.ticker import MaxNLocator

    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(MaxNLocator(nbins=at_most, integer=high - low >= _SEVERAL))
    axes.xaxis.set_major_formatter("{x:g}")


def draw_curves(
    axes: Axes, curves: Sequence[Curve], style: dict[str, Any], *, label: str | None = None
) -> None:
    """The median of `curves` at the evaluations that all share, and its band; else each apart.

    They share enough where two are among them and the last of each. From three runs on the band is
    the median's 95 % interval (`median_interval`) or, below six runs, from the smallest to the
    largest.
    """
    shared = at_shared(curves)
    style = style | {"markevery": max(len((shared or curves)[0][0]) // _MARKERS_A_LINE, 1)}
    if not shared:
        for index, curve in enumerate(curves):
            axes.plot(*curve, **style, linewidth=0.7, label=None if index else label)
        return
    epochs, columns = _columns(shared)
    if not epochs:
        return
    axes.plot(epochs, [median(column) for column in columns], **style, linewidth=1.4, label=label)
    if len(curves) >= _BAND_RUNS:
        low, high = zip(*map(_band, columns), strict=True)
        axes.fill_between(epochs, low, high, color=style["color"], alpha=0.18, linewidth=0)


def median_curve(curves: Sequence[Curve]) -> Curve:
    """The median of `curves` where they share enough (`draw_curves`), else the first."""
    shared = at_shared(curves)
    if not shared:
        return curves[0]
    epochs, columns = _columns(shared)
    return epochs, [median(column) for column in columns]


def at_shared(curves: Sequence[Curve]) -> Sequence[Curve]:
    """`curves` at the epochs that all have; none where they share too few (`draw_curves`)."""
    first = curves[0][0]
    if all(epochs == first for epochs, _ in curves):
        return curves
    shared = set(first).intersection(*(epochs for epochs, _ in curves))
    if len(shared) < _FEWEST_SHARED or any(epochs[-1] not in shared for epochs, _ in curves):
        return []
    return [_only_at(shared, curve) for curve in curves]


def _only_at(shared: set[float], curve: Curve) -> Curve:
    kept = [(epoch, value) for epoch, value in zip(*curve, strict=True) if epoch in shared]
    return [epoch for epoch, _ in kept], [value for _, value in kept]


def _columns(curves: Sequence[Curve]) -> tuple[list[float], list[tuple[float, ...]]]:
    """Epochs that all `curves` have, and all values at each."""
    return curves[0][0], list(zip(*(values for _, values in curves), strict=True))


def _band(values: Sequence[float]) -> tuple[float, float]:
    found = median_interval(values)
    if found.low is None or found.high is None:
        return min(values), max(values)
    return found.low, found.high
