"""Pictures of records, by matplotlib without a display."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

from mnistbench.analysis.groups import counted, group_labels, group_runs
from mnistbench.analysis.statistics import median_interval
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "plot_curves"]

FORMATS = (".png", ".svg")
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours (2008), told apart by colour-blind readers."""
_LINES = ("-", "--", ":", "-.")
_MARKERS = "os^Dv<>P"
_FEW = len(_COLOURS)
_MARKERS_A_LINE = 10
_BAND_RUNS = 3
_LOSS_WINDOWS = 100
_ONE_IMAGE = 0.01  # in percent of ten thousand; added to errors, so that none is 0
_TICKS = (0, 20, 50, 70, 80, 90, 95, 97, 98, 99, 99.5, 99.8, 99.9, 100)

_Curve: TypeAlias = tuple[list[float], list[float]]
"""Epochs, and the values there."""


def plot_curves(records: Sequence[RunRecord], path: Path, *, accuracy_only: bool = False) -> None:
    """Accuracy by epoch and, unless `accuracy_only`, training loss, to `path`.

    Runs that differ only in their seed are one line: their median, with a band from three runs on:
    its 95 % interval (`median_interval`) or, below six runs, from the smallest to the largest. Few
    lines have the accuracy that they converge to drawn across; more than seven are told apart by
    style and marker as well.

    Raises:
        InputError: `path` is neither PNG nor SVG, cannot be written, or no run was evaluated.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: a plot is .png or .svg; name the file so")
    drawn = [group for group in group_runs(records) if any(r.eval_points for r in group)]
    if not drawn:
        raise InputError(f"{path}: no run with an evaluation to draw")
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure = _figure(drawn, panels=1 if accuracy_only else 2)
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        plt.close(figure)


def _figure(groups: Sequence[Sequence[RunRecord]], *, panels: int) -> Figure:
    from matplotlib import pyplot as plt

    few = len(groups) <= _FEW
    legend_rows = len(groups) if few else math.ceil(len(groups) / 2)
    height = (4.2, 6.7)[panels - 1] + 0.2 * legend_rows
    figure, grid = plt.subplots(
        panels, 1, figsize=(7, height), sharex=True, squeeze=False, layout="constrained"
    )
    top, *below = grid[:, 0]
    _scale_by_error(top)
    for index, (group, label) in enumerate(zip(groups, group_labels(groups), strict=True)):
        runs = counted(group)
        _draw_accuracy(top, runs, look=_look(index), label=label, across=few)
        for bottom in below:
            _draw(bottom, [_smoothed(record) for record in runs], _look(index))
            bottom.set(ylabel="training loss", yscale="log")
    low, high = top.get_ylim()
    top.set_yticks([tick for tick in _TICKS if low <= tick <= high])
    top.set_ylabel(f"{_split_name(groups)} accuracy (%)")
    for axes in (top, *below):
        axes.grid(visible=True, alpha=0.3)
    grid[-1, 0].set_xlabel("epoch")
    figure.legend(fontsize="small", loc="outside lower center", ncols=1 if few else 2)
    return figure


def _scale_by_error(axes: Axes) -> None:
    """Heights by the logarithm of the error, or all that is near 100 % would be one line."""
    import numpy as np

    def height(accuracy: Any) -> Any:
        return -np.log10(np.maximum(100.0 + _ONE_IMAGE - accuracy, _ONE_IMAGE / 2))

    axes.set_yscale("function", functions=(height, lambda y: 100.0 + _ONE_IMAGE - 10.0**-y))
    axes.yaxis.set_major_formatter("{x:g}")


def _look(index: int) -> dict[str, Any]:
    """Colour, line and marker of a line: 56 before any two are the same."""
    return {
        "color": _COLOURS[index % _FEW],
        "linestyle": _LINES[index // _FEW % len(_LINES)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": 3.5,
    }


def _split_name(groups: Sequence[Sequence[RunRecord]]) -> str:
    splits = {str(record.config.get("eval_split")) for group in groups for record in group}
    return " / ".join(sorted(splits))


def _draw_accuracy(
    axes: Axes, runs: Sequence[RunRecord], *, look: dict[str, Any], label: str, across: bool
) -> None:
    curves: list[_Curve] = []
    for record in runs:
        split = record.config.get("eval_split")
        points = [p for p in record.eval_points if p.split == split]
        curves.append(([p.epoch for p in points], [100 * p.accuracy for p in points]))
    final = [accuracies[-1] for _, accuracies in curves if accuracies]
    if final:
        end = median(final)
        label += f", converges to {end:.2f} %" if across else f": {end:.2f} %"
        if across:
            axes.axhline(end, color=look["color"], linestyle="--", linewidth=0.8)
    _draw(axes, curves, look, label=label)


def _smoothed(record: RunRecord) -> _Curve:
    """The training loss as means over at most a hundred windows; batch noise would hide it."""
    points = [(p.epoch, p.loss) for p in record.train_points if p.loss is not None]
    window = -(-len(points) // _LOSS_WINDOWS) or 1
    parts = [points[start : start + window] for start in range(0, len(points), window)]
    epochs = [part[-1][0] for part in parts]
    return epochs, [sum(loss for _, loss in part) / len(part) for part in parts]


def _draw(
    axes: Axes, curves: Sequence[_Curve], look: dict[str, Any], *, label: str | None = None
) -> None:
    """The median of `curves` and its band; apart, where they share no evaluations."""
    style = look | {"markevery": max(len(curves[0][0]) // _MARKERS_A_LINE, 1)}
    if len({tuple(xs) for xs, _ in curves}) > 1:
        for index, curve in enumerate(curves):
            axes.plot(*curve, **style, linewidth=0.7, label=None if index else label)
        return
    epochs = curves[0][0]
    columns = list(zip(*(ys for _, ys in curves), strict=True))
    axes.plot(epochs, [median(column) for column in columns], **style, linewidth=1.4, label=label)
    if len(curves) >= _BAND_RUNS:
        low, high = zip(*map(_band, columns), strict=True)
        axes.fill_between(epochs, low, high, color=look["color"], alpha=0.18, linewidth=0)


def _band(values: Sequence[float]) -> tuple[float, float]:
    found = median_interval(values)
    if found.low is None or found.high is None:
        return min(values), max(values)
    return found.low, found.high
