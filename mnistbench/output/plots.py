"""The curves of records as one picture, in a file or for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mnistbench.output.charts.curve_pictures import curves_together
from mnistbench.output.charts.figure import SCREEN_DPI, drawn, figure_of, plain_matplotlib
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import write_whole
from mnistbench.schema.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "curves_figure", "plot_curves"]

FORMATS = (".png", ".svg")
_WIDTH = 700.0


def plot_curves(records: Sequence[RunRecord], path: Path, *, accuracy_only: bool = False) -> None:
    """Write accuracy by epoch and, unless `accuracy_only`, training loss to `path`.

    Raises:
        InputError: `path` is neither PNG nor SVG, cannot be written, or no run was evaluated.
    """
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise InputError(f"{path}: a plot is .png or .svg; name the file so")
    picture = curves_together(records, accuracy_only=accuracy_only)
    write_whole(path, drawn(picture, kind[1:], width=_WIDTH, dpi=SCREEN_DPI), named=True)


def curves_figure(records: Sequence[RunRecord]) -> Figure:
    """The same picture, seven inches wide.

    Raises:
        InputError: no run was evaluated, or matplotlib cannot be imported.
    """
    picture = curves_together(records)
    with plain_matplotlib():
        return figure_of(picture, _WIDTH)
