"""Pictures of records, by matplotlib without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from mnistbench.analysis.groups import group_labels, group_runs
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FORMATS", "plot_curves"]

FORMATS = (".png", ".svg")
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours (2008), told apart by colour-blind readers."""
_LOSS_WINDOWS = 100

_Curve: TypeAlias = tuple[list[float], list[float]]
"""Epochs, and the values there."""


def plot_curves(records: Sequence[RunRecord], path: Path) -> None:
    """Accuracy by epoch, with the line it converges to, and training loss, to `path`.

    Runs that differ only in their seed are one colour: thin lines, and their mean drawn thick.

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

    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 7), sharex=True, layout="constrained")
    for index, (group, label) in enumerate(zip(drawn, group_labels(drawn), strict=True)):
        colour = _COLOURS[index % len(_COLOURS)]
        _draw_accuracy(top, group, colour=colour, label=label)
        _draw_loss(bottom, group, colour)
    top.set_ylabel(f"{_split_name(drawn)} accuracy (%)")
    bottom.set(ylabel="training loss", xlabel="epoch", yscale="log")
    for axes in (top, bottom):
        axes.grid(visible=True, alpha=0.3)
    top.legend(fontsize="small", loc="lower right")
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        plt.close(figure)


def _split_name(groups: Sequence[Sequence[RunRecord]]) -> str:
    splits = {str(record.config.get("eval_split")) for group in groups for record in group}
    return " / ".join(sorted(splits))


def _draw_accuracy(axes: Axes, group: Sequence[RunRecord], *, colour: str, label: str) -> None:
    curves: list[_Curve] = []
    for record in group:
        split = record.config.get("eval_split")
        points = [p for p in record.eval_points if p.split == split]
        curves.append(([p.epoch for p in points], [100 * p.accuracy for p in points]))
    final = [accuracies[-1] for _, accuracies in curves if accuracies]
    if final:
        mean = sum(final) / len(final)
        label += f", converges to {mean:.2f} %"
        axes.axhline(mean, color=colour, linestyle="--", linewidth=1)
    _draw(axes, curves, colour, marker="o", markersize=3, label=label)


def _draw_loss(axes: Axes, group: Sequence[RunRecord], colour: str) -> None:
    _draw(axes, [_smoothed(record) for record in group], colour)


def _smoothed(record: RunRecord) -> _Curve:
    """The training loss as means over at most a hundred windows; batch noise would hide it."""
    points = [(p.epoch, p.loss) for p in record.train_points if p.loss is not None]
    window = -(-len(points) // _LOSS_WINDOWS) or 1
    parts = [points[start : start + window] for start in range(0, len(points), window)]
    epochs = [part[-1][0] for part in parts]
    return epochs, [sum(loss for _, loss in part) / len(part) for part in parts]


def _draw(axes: Axes, curves: Sequence[_Curve], colour: str, **style: Any) -> None:
    if len(curves) == 1:
        axes.plot(*curves[0], color=colour, linewidth=1, **style)
        return
    shared = len({tuple(xs) for xs, _ in curves}) == 1  # a mean needs the same evaluation points
    for index, (xs, ys) in enumerate(curves):
        label = style.get("label") if index == 0 and not shared else None
        axes.plot(xs, ys, color=colour, linewidth=0.5, alpha=0.5, label=label)
    if shared:
        means = [
            sum(column) / len(column) for column in zip(*(ys for _, ys in curves), strict=True)
        ]
        axes.plot(curves[0][0], means, color=colour, linewidth=1.5, **style)
