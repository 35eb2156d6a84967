"""The curves of records as one picture in a file, by matplotlib without a display."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistbench.analysis.grouping import group_labels, group_runs
from mnistbench.analysis.repeats import counted, one_per_seed
from mnistbench.output.charts.curve_pictures import highest, split_name
from mnistbench.output.charts.curves import (
    FEW,
    accuracy_curve,
    draw_curves,
    final_accuracy,
    look,
    loss_curve,
    scale_by_error,
    set_accuracy_ticks,
)
from mnistbench.output.charts.style import plain_log, plain_matplotlib, saved
from mnistbench.schema.errors import InputError
from mnistbench.schema.escaping import printable
from mnistbench.schema.files import write_whole
from mnistbench.schema.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "curves_figure", "plot_curves"]

FORMATS = (".png", ".svg")
_DPI = 120


def plot_curves(records: Sequence[RunRecord], path: Path, *, accuracy_only: bool = False) -> None:
    """Accuracy by epoch and, unless `accuracy_only`, training loss, to `path`.

    Runs that differ only in their seed are one line: their median, with a band from three runs on
    (`draw_curves`). Few lines have the accuracy that they converge to drawn across; more than seven
    are told apart by style and marker as well; of more than 48 those that end highest are drawn.

    Raises:
        InputError: `path` is neither PNG nor SVG, cannot be written, or no run was evaluated.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: a plot is .png or .svg; name the file so")
    figure = curves_figure(records, accuracy_only=accuracy_only)
    with plain_matplotlib({}):
        content = saved(figure, path.suffix[1:].lower(), dpi=_DPI)
    write_whole(path, content, named=True)


def curves_figure(records: Sequence[RunRecord], *, accuracy_only: bool = False) -> Figure:
    """The picture of `plot_curves` as a figure, which a notebook shows.

    Raises:
        InputError: no run was evaluated.
    """
    drawn = [group for group in group_runs(records) if any(r.eval_points for r in group)]
    if not drawn:
        raise InputError("plot: no run with an evaluation to draw")
    with plain_matplotlib({}):
        return _figure(drawn, panels=1 if accuracy_only else 2)


def _new_figure(**size: Any) -> Figure:
    from matplotlib.figure import Figure

    class Shown(Figure):
        """Has what a notebook asks for, whatever backend pyplot was told."""

        def _repr_png_(self) -> bytes:
            with plain_matplotlib({}):
                return saved(self, "png", dpi=_DPI)

    return Shown(**size)


def _figure(groups: Sequence[Sequence[RunRecord]], *, panels: int) -> Figure:
    named, note = highest(list(zip(group_labels(groups), groups, strict=True)))
    few = len(named) <= FEW
    legend_rows = len(named) if few else math.ceil(len(named) / 2)
    height = (4.2, 6.7)[panels - 1] + 0.2 * legend_rows
    figure = _new_figure(figsize=(7, height), layout="constrained")
    grid = figure.subplots(panels, 1, sharex=True, squeeze=False)
    top, *below = grid[:, 0]
    scale_by_error(top)
    for index, (label, group) in enumerate(named):
        runs = one_per_seed(counted(group))
        _draw_accuracy(top, runs, style=look(index), label=printable(label), across=few)
        for bottom in below:
            draw_curves(bottom, [loss_curve(record) for record in runs], look(index))
    set_accuracy_ticks(top, apart=0.03)
    top.set_ylabel(f"{split_name(groups)} accuracy (%)")
    for bottom in below:
        bottom.set_ylabel("training loss")
        plain_log(bottom, "y")
    for axes in (top, *below):
        axes.grid(visible=True, alpha=0.3)
    grid[-1, 0].set_xlabel(f"epoch\n{note}".strip())
    figure.legend(fontsize="small", loc="outside lower center", ncols=1 if few else 2)
    return figure


def _draw_accuracy(
    axes: Axes, runs: Sequence[RunRecord], *, style: dict[str, Any], label: str, across: bool
) -> None:
    curves = [accuracy_curve(record) for record in runs]
    end = final_accuracy(curves)
    if end is not None:
        label += f", converges to {end:.2f} %" if across else f": {end:.2f} %"
        if across:
            axes.axhline(end, color=style["color"], linestyle="--", linewidth=0.8)
    draw_curves(axes, curves, style, label=label)
