"""What was evaluated, and the training loss, by epoch: a panel for few groups, or one for each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import sub
from statistics import median
from typing import NamedTuple

from mnistbench.analysis.grouping import group_labels, group_runs
from mnistbench.analysis.repeats import counted, one_per_seed
from mnistbench.output.charts.curves import (
    Curve,
    Quantity,
    lines_of,
    quantities_of,
    thinned,
)
from mnistbench.output.charts.picture import Key, Line, Panel, Picture, axis_over
from mnistbench.output.charts.shapes import FEW
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord

_COLUMNS = 3

_MOST_LINES = 48
"""Rows that are drawn, those that end best: more could not be told apart."""

_MOST_CHAPTERS = 6
_PALE_POINTS = 16
_PANEL_POINTS = 48
_POINTS = 120
_MARKS = 10
_BAND = (
    "A band is the median's 95 % interval or, with three to five seeds, from the smallest to the "
    "largest."
)
_THIN = "Thin lines are single runs of a row that was not always evaluated at the same steps."
_PALE = "Pale lines are the other rows of this picture."
_BY_ERROR = "The axis is logarithmic in the error, 100 % less the accuracy."


class _Row(NamedTuple):
    """A row: its name on the page and in its picture, its place among all, and its runs."""

    name: str
    called: str
    place: int
    runs: Sequence[RunRecord]


class _Course(NamedTuple):
    """How a quantity went in a row: the curves of its runs, none of them empty."""

    row: _Row
    curves: list[Curve]

    @property
    def end(self) -> float:
        """The median of the curves' ends."""
        return median(values[-1] for _, values in self.curves)


def curve_pictures(groups: Sequence[Sequence[RunRecord]], names: Sequence[str]) -> list[Picture]:
    """Pictures of what the `groups` called `names` evaluated, and of their training loss.

    Up to seven groups are drawn together; more get a panel each, those of one recipe or model in a
    picture of their own where there are few of these.
    """
    rows, note = _highest(groups, names)
    chapters, quantities = _chapters(rows), quantities_of(groups)
    found = []
    for number, (chapter, members) in enumerate(chapters.items(), start=1):
        for quantity in quantities:
            drawn = _courses(quantity, members)
            if drawn:
                name = quantity.name + (f"-{number}" if len(chapters) > 1 else "")
                picture = _picture(quantity, drawn, chapter)
                caption = " ".join(filter(None, (picture.caption, note)))
                found.append(replace(picture, name=name, caption=caption))
    return found


def curves_together(records: Sequence[RunRecord], *, accuracy_only: bool = False) -> Picture:
    """What was evaluated and, unless `accuracy_only`, training loss, each in one panel.

    More than seven lines are told apart by dashes and markers as well; of more than 48 those that
    end best are drawn.

    Raises:
        InputError: no run was evaluated.
    """
    groups = [group for group in group_runs(records) if any(run.eval_points for run in group)]
    if not groups:
        raise InputError("no run with an evaluation to draw")
    rows, note = _highest(groups, group_labels(groups))
    read = [(quantity, _courses(quantity, rows)) for quantity in quantities_of(groups)]
    found = [(quantity, courses) for quantity, courses in read if courses]
    if not found:
        raise InputError("no run with an evaluation to draw")
    panels = [_panel(*one) for one in found[: 1 if accuracy_only else None]]
    places = [end for panel in panels for end in (panel.x.low, panel.x.high)]
    by = found[0][0].by
    x = axis_over(f"{by}. {note}" if note else by, places, at_most=10, whole=True)
    panels = [replace(panel, x=x) for panel in panels]
    keys: dict[str, Key] = {}
    for quantity, courses in [found[0], *((q._replace(form=""), its) for q, its in found[1:])]:
        keys = {key.row: key for key in _keys(quantity, courses, ends=" ends at ")} | keys
    return Picture(
        name="curves", title="", caption="", alt="", panels=panels, keys=[*keys.values()]
    )


def _highest(groups: Sequence[Sequence[RunRecord]], names: Sequence[str]) -> tuple[list[_Row], str]:
    """The `groups` that can be drawn, in their order, and what to say of the others.

    Of each seed one run is drawn, as a repeat would count its curve twice.
    """
    rows = [
        _Row(name, name, place, one_per_seed(counted(group)))
        for place, (name, group) in enumerate(zip(names, groups, strict=True))
    ]
    if len(rows) <= _MOST_LINES:
        return rows, ""
    first, *_ = quantities_of(groups)
    ends = {course.row.place: course.end for course in _courses(first, rows)}
    worst = math.inf if first.falls else -math.inf
    ranked = sorted(rows, key=lambda row: ends.get(row.place, worst), reverse=not first.falls)
    ranked = ranked[:_MOST_LINES]
    end = "lowest" if first.falls else "highest"
    note = f"The {_MOST_LINES} rows that end {end}, of {len(rows)}."
    return sorted(ranked, key=lambda row: row.place), note


def _courses(quantity: Quantity, rows: Sequence[_Row]) -> list[_Course]:
    """How `quantity` went in those of the `rows` in which it was measured."""
    read = [(row, [curve for curve in map(quantity.read, row.runs) if curve[0]]) for row in rows]
    return [_Course(row, curves) for row, curves in read if curves]


def _chapters(rows: Sequence[_Row]) -> dict[str, Sequence[_Row]]:
    """What goes into one picture each, by what comes first in the names; ``""`` if not by that."""
    if len(rows) <= FEW:
        return {"": rows}
    found: dict[str, list[_Row]] = {}
    for row in rows:
        chapter, _, rest = row.name.partition(", ")
        found.setdefault(chapter, []).append(row._replace(called=rest or chapter))
    return {**found} if 1 < len(found) <= min(_MOST_CHAPTERS, len(rows) // 2) else {"": rows}


def _picture(quantity: Quantity, drawn: Sequence[_Course], chapter: str) -> Picture:
    few = len(drawn) <= FEW
    title = f"{chapter.strip()}: {quantity.title}" if chapter else quantity.title
    which = ", ".join(course.row.called for course in drawn) if few else f"{len(drawn)} rows"
    panel = _panel(quantity, drawn, small=not few)
    return Picture(
        name=quantity.name,
        title=title if chapter else title[:1].upper() + title[1:],
        caption=" ".join([*_notes(quantity, drawn, panel), *([] if few else [_PALE])]),
        alt=f"{title} of {which}.{_ends(quantity, drawn)}",
        panels=[panel] if few else _apart(panel, drawn),
        columns=1 if few else _COLUMNS,
        behind=[] if few else _behind(panel),
        keys=_keys(quantity, drawn) if few else [],
    )


def _panel(quantity: Quantity, drawn: Sequence[_Course], *, small: bool = False) -> Panel:
    """All courses on the same axes; in a `small` panel with fewer points and ticks, unmarked."""
    lines = [line for course in drawn for line in _lines(course, small=small)]
    lines.sort(key=lambda line: min(map(sub, line.low, line.high), default=0.0))  # wide bands below
    values = [y for line in lines for y in (*line.ys, *line.low, *line.high)]
    across, up = (4, 5) if small else (8, 9)
    places = [x for line in lines for x in line.xs]
    ends = [min(places), max(places)]
    lines += [
        Line(xs=ends, ys=[y, y], kind="dashed", told=f"target: {text}")
        for y, text in quantity.goals.items()
    ]
    return Panel(
        x=axis_over(quantity.by, places, at_most=across, whole=True),
        y=axis_over(quantity.label, [*values, *quantity.goals], scale=quantity.scale, at_most=up),
        marks=lines,
    )


def _lines(course: _Course, *, small: bool) -> list[Line]:
    row, curves = course
    if small:
        look = row.place % FEW
        return lines_of(curves, points=_PANEL_POINTS, row=row.name, look=look)
    return lines_of(curves, points=_POINTS, row=row.name, look=row.place, marks=_MARKS)


def _keys(quantity: Quantity, drawn: Sequence[_Course], *, ends: str = ": ") -> list[Key]:
    """The legend: names, and those of what was evaluated with where they end."""
    return [
        Key(
            text=row.called + (ends + quantity.form.format(course.end) if quantity.form else ""),
            row=row.name,
            look=row.place,
        )
        for course in drawn
        for row in [course.row]
    ]


def _apart(panel: Panel, drawn: Sequence[_Course]) -> list[Panel]:
    """A panel for each row, with the axes of the `panel` of all."""
    return [
        replace(panel, marks=[m for m in panel.marks if m.row in {row.name, ""}], title=row.called)
        for row, _ in drawn
    ]


def _behind(panel: Panel) -> list[Line]:
    """The first line of each row, pale."""
    first = {m.row: m for m in reversed(panel.marks) if isinstance(m, Line) and m.row}
    thin = [(row, thinned((list(m.xs), list(m.ys)), _PALE_POINTS)) for row, m in first.items()]
    return [Line(xs=xs, ys=ys, row=row, kind="pale") for row, (xs, ys) in thin]


def _notes(quantity: Quantity, drawn: Sequence[_Course], panel: Panel) -> Iterable[str]:
    """How its lines are to be read."""
    lines = [mark for mark in panel.marks if isinstance(mark, Line)]
    several = {len(course.curves) > 1 for course in drawn}
    if several == {False}:
        yield "Each line is one run."
    else:
        yield "Each line is the median over seeds" + (", or one run." if False in several else ".")
    if any(line.low for line in lines):
        yield _BAND
    if any(line.kind == "thin" for line in lines):
        yield _THIN
    if quantity.scale == "error":
        yield _BY_ERROR
    if quantity.goals:
        yield f"The dashed line is the target: {', '.join(quantity.goals.values())}."
    if quantity.form and len(drawn) <= FEW:
        what = "accuracy" if quantity.scale == "error" else "value"
        yield f"Behind each name is the {what} at its end."


def _ends(quantity: Quantity, drawn: Sequence[_Course]) -> str:
    """The lowest and highest end of the rows, for those who do not see them."""
    if not quantity.form:
        return ""
    low, high = (quantity.form.format(end(course.end for course in drawn)) for end in (min, max))
    return f" They end at {low}" + (f" to {high}." if high != low else ".")
