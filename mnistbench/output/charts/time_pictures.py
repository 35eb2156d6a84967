"""How long groups took to a target: a dot for each median, a line for its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from mnistbench.analysis.number_text import goal, seconds
from mnistbench.output.charts.rows import parts_of, row_figure
from mnistbench.output.charts.style import COLOURS, MUTED, Picture, plain_log
from mnistbench.stats.survival import CensoredMedian

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["TimedRow", "time_pictures"]

_TOLD = 7
_WIDE = 20.0
"""Times this factor apart need a logarithmic axis."""


class TimedRow(NamedTuple):
    """A group's median time to the target [seconds], and what is to be said behind its name."""

    name: str
    time_s: CensoredMedian
    mark: str = ""


def time_pictures(rows: Sequence[TimedRow], target: float) -> list[Picture]:
    """Pictures of `rows`, as ordered, at a `target` accuracy; none if no row got there."""
    if not any(row.time_s.reached for row in rows):
        return []
    parts, told = parts_of(rows)
    ends = _ends(rows)
    return [
        Picture(
            name=f"time-to-{target * 100:.10g}".replace(".", "-") + (f"-{k}" if k > 1 else ""),
            title=f"Train time to {goal(target)}" + (f", part {k}" if k > 1 else ""),
            caption="A dot is the median over all seeds (Turnbull), the line its 95 % "
            "interval; an arrow has no upper end, a hollow dot no interval. Numbers are how many "
            f"seeds got there.{told}",
            alt=f"Median train seconds to {goal(target)}: {_told(part)}.",
            draw=partial(_draw, part, ends),
        )
        for k, part in enumerate(parts, start=1)
    ]


def _told(rows: Sequence[TimedRow]) -> str:
    medians = [(row.name, row.time_s.median) for row in rows]
    told = [f"{name} {'not reached' if t is None else seconds(t)}" for name, t in medians]
    return "; ".join(told[:_TOLD]) + f"; and {len(told) - _TOLD} more" * (len(told) > _TOLD)


def _ends(rows: Sequence[TimedRow]) -> tuple[float, float]:
    """The smallest and the largest second that is drawn of any row."""
    drawn = [
        value
        for row in rows
        for value in (row.time_s.median, row.time_s.low, row.time_s.high)
        if value is not None
    ]
    return (min(drawn), max(drawn)) if drawn else (0.0, 1.0)


def _draw(rows: Sequence[TimedRow], ends: tuple[float, float]) -> Figure:
    figure, axes = row_figure([row.name + row.mark for row in rows])
    logarithmic = ends[0] > 0 and ends[1] > _WIDE * ends[0]
    if logarithmic:
        spread = math.log(ends[1] / ends[0])
        axes.set_xlim(ends[0] * math.exp(-0.05 * spread), ends[1] * math.exp(0.2 * spread))
        plain_log(axes, "x")
    else:
        axes.set_xlim(0, ends[1] * 1.2 or 1.0)
    for y, row in enumerate(rows):
        _draw_row(axes, y, row.time_s)
    axes.set_xlabel("train seconds")
    return figure


def _draw_row(axes: Axes, y: int, time: CensoredMedian) -> None:
    left, right = axes.get_xlim()
    count = f"{time.reached} of {time.n}" if time.n > 1 else ""
    if time.median is None:
        text = f"not reached{', ' if count else ''}{count}"
        at = axes.get_yaxis_transform()
        axes.text(0.99, y, text, color=MUTED, fontsize=7, ha="right", va="center", transform=at)
        return
    known = time.low is not None or time.high is not None
    if known:
        low = max(time.low or left, left)
        if time.high is None:
            arrow = {"arrowstyle": "-|>", "color": COLOURS[0], "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (right, y), (low, y), arrowprops=arrow)
        else:
            axes.plot([low, time.high], [y, y], color=COLOURS[0], linewidth=1.4)
    face = COLOURS[0] if known or time.n == 1 else "none"
    axes.plot(time.median, y, "o", color=COLOURS[0], markerfacecolor=face, markersize=4.5)
    if count and time.reached < time.n:
        axes.annotate(
            count,
            (time.median if time.high is None else time.high, y),
            xytext=(5, 4 if time.high is None and known else 0),
            textcoords="offset points",
            color=MUTED,
            fontsize=7,
            va="bottom" if time.high is None and known else "center",
        )
