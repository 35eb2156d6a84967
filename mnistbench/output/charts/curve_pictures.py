"""Accuracy and loss by epoch at a column's width: one panel for a few groups, or one for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mnistbench.analysis.repeats import counted, one_per_seed
from mnistbench.output.charts.curves import (
    FEW,
    Curve,
    accuracy_curve,
    at_shared,
    draw_curves,
    final_accuracy,
    look,
    loss_curve,
    median_curve,
    scale_by_error,
    set_accuracy_ticks,
    set_epoch_ticks,
)
from mnistbench.output.charts.style import COLOURS, PALE, WIDTH_IN, Picture, new_figure, plain_log
from mnistbench.schema.escaping import brief, printable
from mnistbench.schema.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curve_pictures", "highest", "split_name"]

_COLUMNS = 3
_PANELS = 24
"""Panels of one picture; more go into a further one."""

_MOST_LINES = 48
"""Rows that are drawn, those that end highest: more could not be told apart."""

_MOST_CHAPTERS = 6
_PANEL_IN = 0.72
_LETTERS = 17
_TITLE_LINES = 3
_PALE_POINTS = 16
_PANEL_POINTS = 48
_BAND = (
    "Each line is the median over the seeds of a row; its band is the median's 95 % interval or, "
    "with three to five seeds, from the smallest to the largest."
)
_PALE = "Pale lines are the other rows of this picture."
_BY_ERROR = "The axis is by the error's logarithm."


class _Line(NamedTuple):
    """One row: its name, and the curves of its runs."""

    name: str
    curves: list[Curve]


class _Place(NamedTuple):
    """Which of several pictures it is: what all its rows share, its number, and what to note."""

    chapter: str
    number: int
    note: str


@dataclass(frozen=True, kw_only=True)
class _Quantity:
    """What is drawn against epochs."""

    name: str
    title: str
    axis: str
    read: Callable[[RunRecord], Curve]


def curve_pictures(groups: Sequence[Sequence[RunRecord]], names: Sequence[str]) -> list[Picture]:
    """Pictures of accuracy and of training loss of the `groups` called `names`.

    Up to seven groups are drawn together; more get a panel each, those of one recipe or model in a
    picture of their own where there are few of these.
    """
    split = split_name(groups)
    accuracy = _Quantity(
        name="accuracy",
        title=f"{split} accuracy by epoch",
        axis=f"{split} accuracy (%)",
        read=accuracy_curve,
    )
    loss = _Quantity(
        name="loss", title="training loss by epoch", axis="training loss", read=loss_curve
    )
    named = list(zip(names, groups, strict=True))
    shown, note = highest(named)
    chapters = _chapters(shown)
    return [
        picture
        for number, (chapter, members) in enumerate(chapters.items(), start=1)
        for quantity in (accuracy, loss)
        if (lines := _lines(members, chapter, quantity))
        for picture in [
            _picture(quantity, lines, _Place(chapter, number if len(chapters) > 1 else 0, note))
        ]
    ]


def split_name(groups: Sequence[Sequence[RunRecord]]) -> str:
    """The split that runs were evaluated on, or all of them."""
    splits = {str(record.config.get("eval_split")) for group in groups for record in group}
    return " / ".join(sorted(splits))


_Named: TypeAlias = tuple[str, Sequence[RunRecord]]


def _chapters(named: Sequence[_Named]) -> dict[str, list[_Named]]:
    """What goes into one picture each, by what comes first in the names; ``""`` if not by that."""
    if len(named) <= FEW:
        return {"": list(named)}
    found: dict[str, list[_Named]] = {}
    for name, group in named:
        found.setdefault(name.partition(", ")[0], []).append((name, group))
    if not 1 < len(found) <= min(_MOST_CHAPTERS, len(named) // 2):
        found = {"": list(named)}
    return {
        chapter + f" ({start // _PANELS + 1})" * (len(members) > _PANELS):
            members[start : start + _PANELS]
        for chapter, members in found.items()
        for start in range(0, len(members), _PANELS)
    }  # fmt: skip


def highest(named: Sequence[_Named]) -> tuple[list[_Named], str]:
    """Those that can be drawn, in their order, and what to say of the others."""
    if len(named) <= _MOST_LINES:
        return list(named), ""
    ends = [final_accuracy(list(map(accuracy_curve, _runs(group)))) for _, group in named]
    ranked = sorted(range(len(named)), key=lambda index: -(ends[index] or 0.0))
    shown = [named[index] for index in sorted(ranked[:_MOST_LINES])]
    return shown, f"The {_MOST_LINES} rows that end highest, of {len(named)}."


def _lines(members: Sequence[_Named], chapter: str, quantity: _Quantity) -> list[_Line]:
    found = []
    for name, group in members:
        curves = [curve for curve in map(quantity.read, _runs(group)) if curve[0]]
        if curves:
            found.append(_Line(name.removeprefix(f"{chapter}, "), curves))
    return found


def _runs(group: Sequence[RunRecord]) -> list[RunRecord]:
    """Those that are drawn: one of each seed, as a repeat would count its curve twice."""
    return one_per_seed(counted(group))


def _picture(quantity: _Quantity, lines: Sequence[_Line], place: _Place) -> Picture:
    chapter, number, note = place
    few = len(lines) <= FEW
    which = ", ".join(line.name for line in lines) if few else f"{len(lines)} rows"
    lead = f"{chapter.strip()}: " if chapter else ""
    title = lead + quantity.title
    notes = [_BAND, *([] if few else [_PALE]), *([_BY_ERROR] * (quantity.name == "accuracy")), note]
    return Picture(
        name=f"{quantity.name}-{number}" if number else quantity.name,
        title=title[:1].upper() + title[1:] if not chapter else title,
        caption=" ".join(filter(None, notes)),
        alt=f"{title} of {which}.{_ends(quantity, lines)}",
        draw=partial(_together if few else _apart, quantity, lines),
    )


def _ends(quantity: _Quantity, lines: Sequence[_Line]) -> str:
    """The lowest and highest end of the lines, for those who do not see them."""
    if quantity.name != "accuracy":
        return ""
    ends = [end for line in lines if (end := final_accuracy(line.curves)) is not None]
    low, high = min(ends), max(ends)
    return f" They end at {low:.2f} %" + (f" to {high:.2f} %." if high > low else ".")


def _together(quantity: _Quantity, lines: Sequence[_Line]) -> Figure:
    """All lines on the same axes, named below."""
    figure = new_figure(2.35 + 0.14 * len(lines))
    axes = figure.add_subplot()
    _scale(axes, quantity)
    for index, line in enumerate(lines):
        label = brief(line.name, 48)
        end = final_accuracy(line.curves) if quantity.name == "accuracy" else None
        if end is not None:
            label += f": {end:.2f} %"
        draw_curves(axes, line.curves, look(index) | {"markersize": 2.5}, label=label)
    _finish(axes, quantity, apart=0.06)
    set_epoch_ticks(axes, at_most=8)
    axes.set(xlabel="epoch", ylabel=quantity.axis)
    figure.legend(loc="outside lower left", ncols=1)
    return figure


def _apart(quantity: _Quantity, lines: Sequence[_Line]) -> Figure:
    """A panel for each line, with the others pale behind it."""
    rows = -(-len(lines) // _COLUMNS)
    titles = [_broken(line.name) for line in lines]
    title_in = 0.17 + 0.12 * max(title.count("\n") for title in titles)
    height_in = (_PANEL_IN + title_in) * rows + 0.4
    figure = new_figure(height_in, fixed=True)  # to try a layout would draw each panel twice
    figure.subplots_adjust(
        left=0.48 / WIDTH_IN,
        right=1 - 0.06 / WIDTH_IN,
        bottom=0.4 / height_in,
        top=1 - title_in / height_in,
        wspace=0.14,
        hspace=(title_in + 0.06) / _PANEL_IN,
    )
    grid = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    _scale(panels[0], quantity)
    courses = [_thinned(median_curve(line.curves), _PALE_POINTS) for line in lines]
    for index, (axes, line, title) in enumerate(zip(panels, lines, titles, strict=False)):
        others = [*courses[:index], *courses[index + 1 :]]
        axes.plot(*_one_line(others), color=PALE, linewidth=0.5)
        kept = at_shared(line.curves) or line.curves  # thinned alone, they would share fewer
        draw_curves(axes, [_thinned(c, _PANEL_POINTS) for c in kept], {"color": COLOURS[0]})
        axes.set_title(title, fontsize=7, loc="left", pad=2)
    _finish(panels[0], quantity, apart=0.2)
    set_epoch_ticks(panels[0], at_most=4)
    for axes in panels:
        axes.tick_params(length=2, pad=1.5)
        axes.minorticks_off()
    for axes in panels[len(lines) :]:
        axes.set_axis_off()
    figure.supxlabel("epoch", fontsize=7.5, y=0.02 / height_in)
    figure.supylabel(quantity.axis, fontsize=7.5, x=0.02 / WIDTH_IN)
    return figure


def _scale(axes: Axes, quantity: _Quantity) -> None:
    if quantity.name == "accuracy":
        scale_by_error(axes)


def _finish(axes: Axes, quantity: _Quantity, *, apart: float) -> None:
    if quantity.name == "accuracy":
        set_accuracy_ticks(axes, apart=apart)
    else:
        plain_log(axes, "y")


def _thinned(curve: Curve, points: int) -> Curve:
    """`curve` of so few `points`, where no more could be seen."""
    every = len(curve[0]) // points + 1
    return curve[0][::every], curve[1][::every]


def _one_line(curves: Sequence[Curve]) -> Curve:
    """`curves` as one with gaps, which is one path in a file."""
    gap = [math.nan]
    return (
        [x for epochs, _ in curves for x in [*epochs, *gap]],
        [y for _, values in curves for y in [*values, *gap]],
    )


def _broken(name: str) -> str:
    """A name for a third of a column: in up to three lines, broken after commas."""
    *parts, rest = printable(name).split(", ", _TITLE_LINES - 1)
    return "\n".join(brief(part, _LETTERS) for part in (*parts, rest))
