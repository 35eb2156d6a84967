"""Pictures of records, by matplotlib without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistbench.analysis.tables import group_runs
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FORMATS", "plot_curves"]

FORMATS = (".png", ".svg")
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours (2008), told apart by colour-blind readers."""


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
    for index, group in enumerate(drawn):
        colour = _COLOURS[index % len(_COLOURS)]
        _draw_accuracy(top, group, colour)
        _draw_loss(bottom, group, colour)
    top.set_ylabel(f"{_split_name(drawn)} accuracy (%)")
    bottom.set(ylabel="training loss", xlabel="epoch", yscale="log")
    for axes in (top, bottom):
        axes.grid(visible=True, alpha=0.3)
    top.legend(fontsize="small", loc="lower right")
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        plt.close(figure)


def _split_name(groups: Sequence[Sequence[RunRecord]]) -> str:
    splits = {str(record.config.get("eval_split")) for group in groups for record in group}
    return " / ".join(sorted(splits))


def _label(group: Sequence[RunRecord]) -> str:
    first = group[0]
    name = first.recipe.name if first.recipe else f"{first.config['model']}, {first.config['loss']}"
    data = first.dataset.name if first.dataset else "?"
    return f"{name} on {data}" + (f" (n = {len(group)})" if len(group) > 1 else "")


def _draw_accuracy(axes: Axes, group: Sequence[RunRecord], colour: str) -> None:
    curves = []
    for record in group:
        split = record.config.get("eval_split")
        points = [p for p in record.eval_points if p.split == split]
        curves.append(([p.epoch for p in points], [100 * p.accuracy for p in points]))
    _draw(axes, curves, colour, marker="o", markersize=3, label=_label(group))
    final = [accuracies[-1] for _, accuracies in curves if accuracies]
    if final:
        mean = sum(final) / len(final)
        axes.axhline(mean, color=colour, linestyle="--", linewidth=1)
        axes.annotate(
            f"converges to {mean:.2f} %",
            xy=(0.02, mean),
            xycoords=("axes fraction", "data"),
            xytext=(0, -10),
            textcoords="offset points",
            fontsize="small",
            color=colour,
        )


def _draw_loss(axes: Axes, group: Sequence[RunRecord], colour: str) -> None:
    curves = []
    for record in group:
        points = [p for p in record.train_points if p.loss is not None]
        curves.append(([p.epoch for p in points], [float(p.loss or 0.0) for p in points]))
    _draw(axes, curves, colour)


def _draw(
    axes: Axes, curves: Sequence[tuple[list[float], list[float]]], colour: str, **style: Any
) -> None:
    if len(curves) == 1:
        axes.plot(*curves[0], color=colour, linewidth=1, **style)
        return
    for xs, ys in curves:
        axes.plot(xs, ys, color=colour, linewidth=0.5, alpha=0.5)
    if len({tuple(xs) for xs, _ in curves}) == 1:  # a mean needs the same evaluation points
        means = [
            sum(column) / len(column) for column in zip(*(ys for _, ys in curves), strict=True)
        ]
        axes.plot(curves[0][0], means, color=colour, linewidth=1.5, **style)
