"""Pictures with a row for each group of runs: a name, and what was measured to its right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from mnistbench.output.charts.style import INK, MUTED, new_figure
from mnistbench.schema.escaping import brief

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MOST_ROWS", "parts_of", "row_figure"]

T = TypeVar("T")

MOST_ROWS = 40
"""Rows of one picture; more go into a second one."""

_MOST_PICTURES = 2

_SHORT = 20
_LONGEST = 56
_ROW_IN = 0.2
_TALL_ROW_IN = 0.31


def parts_of(rows: Sequence[T]) -> tuple[list[Sequence[T]], str]:
    """`rows` for a picture each, and what to say of those that there is no picture of."""
    starts = range(0, min(len(rows), _MOST_PICTURES * MOST_ROWS), MOST_ROWS)
    drawn = len(starts) * MOST_ROWS
    told = f" The first {drawn} of {len(rows)} rows." if len(rows) > drawn else ""
    return [rows[start : start + MOST_ROWS] for start in starts], told


def row_figure(labels: Sequence[str], *, below_in: float = 0.45) -> tuple[Figure, Axes]:
    """A figure with a row at y = 0, 1, … from the top for each of `labels`.

    Short labels stand beside their row; if one is long, all stand above theirs. `below_in` inches
    are for what is below the rows.
    """
    above = max(map(len, labels), default=0) > _SHORT
    row_in = _TALL_ROW_IN if above else _ROW_IN
    figure = new_figure(row_in * len(labels) + below_in)
    axes = figure.add_subplot()
    axes.set_ylim(len(labels) - 0.4, -0.75 if above else -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines.left.set_visible(False)
    if not above:
        axes.set_yticks(range(len(labels)), [brief(label, _SHORT) for label in labels])
        return figure, axes
    axes.set_yticks([])
    for y, label in enumerate(labels):
        axes.text(
            0,
            y - 0.3,
            brief(label, _LONGEST),
            transform=axes.get_yaxis_transform(),
            fontsize=7,
            color=INK if label else MUTED,
            va="bottom",
        )
    return figure, axes
