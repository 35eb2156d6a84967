"""The curves of records as one picture in a file, by matplotlib without a display."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mnistbench.analysis.grouping import group_labels, group_runs
from mnistbench.output.charts.curve_pictures import (
    courses,
    highest,
    keys_of,
    panel_of,
    quantities,
)
from mnistbench.output.charts.figure import figure_of
from mnistbench.output.charts.picture import Picture, axis_over
from mnistbench.output.charts.style import plain_matplotlib, saved
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import write_whole
from mnistbench.schema.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "curves_figure", "plot_curves"]

FORMATS = (".png", ".svg")
_WIDTH = 700.0
_DPI = 120


def plot_curves(records: Sequence[RunRecord], path: Path, *, accuracy_only: bool = False) -> None:
    """Accuracy by epoch and, unless `accuracy_only`, training loss, to `path` (`curves_figure`).

    Raises:
        InputError: `path` is neither PNG nor SVG, cannot be written, or no run was evaluated.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: a plot is .png or .svg; name the file so")
    if not any(record.eval_points for record in records):
        raise InputError(f"{path}: no run with an evaluation to draw")
    with plain_matplotlib():
        figure = curves_figure(records, accuracy_only=accuracy_only)
        content = saved(figure, path.suffix[1:].lower(), dpi=_DPI)
    write_whole(path, content, named=True)


def curves_figure(records: Sequence[RunRecord], *, accuracy_only: bool = False) -> Figure:
    """Accuracy by epoch and, unless `accuracy_only`, training loss, seven inches wide.

    Runs that differ only in their seed are one line: their median, with a band from three runs on
    (`lines_of`). More than seven lines are told apart by dashes and markers as well; of more than
    48 those that end highest are drawn.

    Raises:
        InputError: no run was evaluated, or matplotlib cannot be imported.
    """
    groups = [group for group in group_runs(records) if any(run.eval_points for run in group)]
    if not groups:
        raise InputError("no run with an evaluation to draw")
    rows, note = highest(groups, group_labels(groups))
    shown = quantities(groups)[: 1 if accuracy_only else 2]
    drawn = [courses(quantity, rows) for quantity in shown]
    panels = list(map(panel_of, shown, drawn))
    epochs = [end for panel in panels for end in (panel.x.low, panel.x.high)]
    x = axis_over(f"epoch. {note}" if note else "epoch", epochs, at_most=10, whole=True)
    panels = [replace(panel, x=x) for panel in panels]
    keys = keys_of(shown[0], drawn[0], ends=" ends at ")
    picture = Picture(name="curves", title="", caption="", alt="", panels=panels, keys=keys)
    with plain_matplotlib():
        return figure_of(picture, _WIDTH)
