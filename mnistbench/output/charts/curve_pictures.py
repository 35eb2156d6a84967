"""Accuracy and loss by epoch: one panel for a few groups, or one for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from mnistbench.analysis.repeats import counted, one_per_seed
from mnistbench.output.charts.curves import (
    Curve,
    accuracy_curve,
    final_accuracy,
    lines_of,
    loss_curve,
    thinned,
)
from mnistbench.output.charts.looks import FEW
from mnistbench.output.charts.picture import Key, Line, Mark, Panel, Picture, Scale, axis_over
from mnistbench.schema.record import RunRecord

__all__ = [
    "ACCURACY",
    "LOSS",
    "CurvedRow",
    "curve_pictures",
    "curved_rows",
    "keys_of",
    "panel_of",
    "split_name",
]

_COLUMNS = 3
_PANELS = 24
"""Panels of one picture; more go into a further one."""

_MOST_LINES = 48
"""Rows that are drawn, those that end highest: more could not be told apart."""

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
_BY_ERROR = "The axis is by the error's logarithm."


@dataclass(frozen=True, kw_only=True)
class _Quantity:
    """What is drawn against epochs; `{}` in its title and label is for the split."""

    name: str
    title: str
    label: str
    scale: Scale
    read: Callable[[RunRecord], Curve]


ACCURACY = _Quantity(
    name="accuracy",
    title="{} accuracy by epoch",
    label="{} accuracy (%)",
    scale="error",
    read=accuracy_curve,
)
LOSS = _Quantity(
    name="loss",
    title="training loss by epoch",
    label="training loss",
    scale="log",
    read=loss_curve,
)


class CurvedRow(NamedTuple):
    """A row: its name, its place among all, and its runs, one of each seed.

    A repeat of a seed would count its curve twice.
    """

    name: str
    place: int
    runs: Sequence[RunRecord]


class _Place(NamedTuple):
    """Which of several pictures it is: what all its rows share, its number, and what to note."""

    chapter: str
    number: int
    note: str


def curve_pictures(groups: Sequence[Sequence[RunRecord]], names: Sequence[str]) -> list[Picture]:
    """Pictures of accuracy and of training loss of the `groups` called `names`.

    Up to seven groups are drawn together; more get a panel each, those of one recipe or model in a
    picture of their own where there are few of these.
    """
    rows, note = curved_rows(groups, names)
    split = split_name(groups)
    chapters = _chapters(rows)
    found = []
    for number, (chapter, members) in enumerate(chapters.items(), start=1):
        place = _Place(chapter, number if len(chapters) > 1 else 0, note)
        for quantity in (ACCURACY, LOSS):
            shown = [row for row in members if any(quantity.read(run)[0] for run in row.runs)]
            if shown:
                found.append(_picture(quantity, shown, split, place))
    return found


def curved_rows(
    groups: Sequence[Sequence[RunRecord]], names: Sequence[str]
) -> tuple[list[CurvedRow], str]:
    """The `groups` that can be drawn, in their order, and what to say of the others."""
    rows = [
        CurvedRow(name, place, one_per_seed(counted(group)))
        for place, (name, group) in enumerate(zip(names, groups, strict=True))
    ]
    if len(rows) <= _MOST_LINES:
        return rows, ""
    ends = [final_accuracy(list(map(accuracy_curve, row.runs))) or 0.0 for row in rows]
    ranked = sorted(rows, key=lambda row: -ends[row.place])[:_MOST_LINES]
    note = f"The {_MOST_LINES} rows that end highest, of {len(rows)}."
    return sorted(ranked, key=lambda row: row.place), note


def split_name(groups: Sequence[Sequence[RunRecord]]) -> str:
    """The split that runs were evaluated on, or all of them."""
    splits = {str(record.config.get("eval_split")) for group in groups for record in group}
    return " / ".join(sorted(splits))


def _chapters(rows: Sequence[CurvedRow]) -> dict[str, Sequence[CurvedRow]]:
    """What goes into one picture each, by what comes first in the names; ``""`` if not by that."""
    if len(rows) <= FEW:
        return {"": rows}
    found: dict[str, list[CurvedRow]] = {}
    for row in rows:
        found.setdefault(row.name.partition(", ")[0], []).append(row)
    if not 1 < len(found) <= min(_MOST_CHAPTERS, len(rows) // 2):
        found = {"": list(rows)}
    return {
        chapter + f" ({start // _PANELS + 1})" * (len(members) > _PANELS):
            members[start : start + _PANELS]
        for chapter, members in found.items()
        for start in range(0, len(members), _PANELS)
    }  # fmt: skip


def _picture(quantity: _Quantity, rows: Sequence[CurvedRow], split: str, place: _Place) -> Picture:
    chapter, number, note = place
    few = len(rows) <= FEW
    called = [row.name.removeprefix(f"{chapter}, ") for row in rows]
    lead = f"{chapter.strip()}: " if chapter else ""
    title = lead + quantity.title.format(split)
    which = ", ".join(called) if few else f"{len(rows)} rows"
    panel = panel_of(quantity, rows, split, small=not few)
    notes = _notes(panel, rows, quantity)
    return Picture(
        name=f"{quantity.name}-{number}" if number else quantity.name,
        title=title if chapter else title[:1].upper() + title[1:],
        caption=" ".join(filter(None, [*notes, "" if few else _PALE, note])),
        alt=f"{title} of {which}.{_ends(quantity, rows)}",
        panels=[panel] if few else _apart(panel, rows, called),
        columns=1 if few else _COLUMNS,
        behind=[] if few else _behind(panel),
        keys=keys_of(quantity, rows, called) if few else [],
    )


def panel_of(
    quantity: _Quantity, rows: Sequence[CurvedRow], split: str, *, small: bool = False
) -> Panel:
    """All `rows` on the same axes; for a `small` panel with fewer points and ticks, unmarked."""
    lines = [line for row in rows for line in _lines(quantity, row, small=small)]
    values = [y for line in lines for y in (*line.ys, *line.low, *line.high)]
    at_most = 4 if small else 7
    epochs = [x for line in lines for x in line.xs]
    return Panel(
        x=axis_over("epoch", epochs, at_most=at_most, whole=True),
        y=axis_over(quantity.label.format(split), values, scale=quantity.scale, at_most=at_most),
        marks=lines,
    )


def _lines(quantity: _Quantity, row: CurvedRow, *, small: bool) -> list[Line]:
    curves = _curves(quantity, row)
    look, points, marks = row.place, _POINTS, _MARKS
    if small:
        look, points, marks = row.place % FEW, _PANEL_POINTS, 0
    return lines_of(curves, points=points, row=row.name, look=look, marks=marks) if curves else []


def _curves(quantity: _Quantity, row: CurvedRow) -> list[Curve]:
    return [curve for curve in map(quantity.read, row.runs) if curve[0]]


def keys_of(
    quantity: _Quantity, rows: Sequence[CurvedRow], called: Sequence[str], *, ends: str = ": "
) -> list[Key]:
    """The legend of `rows` as they are `called`: accuracies with where they end."""
    found = []
    for row, name in zip(rows, called, strict=True):
        end = final_accuracy(_curves(quantity, row)) if quantity is ACCURACY else None
        text = name if end is None else f"{name}{ends}{end:.2f} %"
        found.append(Key(text=text, row=row.name, look=row.place))
    return found


def _apart(panel: Panel, rows: Sequence[CurvedRow], called: Sequence[str]) -> list[Panel]:
    """A panel for each row, with the axes of the `panel` of all."""
    lines: dict[str, list[Mark]] = {row.name: [] for row in rows}
    for mark in panel.marks:
        lines[mark.row].append(mark)
    return [
        replace(panel, marks=lines[row.name], title=name)
        for row, name in zip(rows, called, strict=True)
    ]


def _behind(panel: Panel) -> list[Line]:
    """The first line of each row, pale."""
    first = {mark.row: mark for mark in reversed(panel.marks) if isinstance(mark, Line)}
    thin = [(row, thinned((list(m.xs), list(m.ys)), _PALE_POINTS)) for row, m in first.items()]
    return [Line(xs=xs, ys=ys, row=row, kind="pale") for row, (xs, ys) in thin]


def _notes(panel: Panel, rows: Sequence[CurvedRow], quantity: _Quantity) -> Iterable[str]:
    """How its lines are to be read."""
    lines = [mark for mark in panel.marks if isinstance(mark, Line)]
    seeds = {len(_curves(quantity, row)) > 1 for row in rows}
    if seeds == {False}:
        yield "Each line is one run."
    else:
        yield "Each line is the median over seeds" + (", or one run." if False in seeds else ".")
    if any(line.low for line in lines):
        yield _BAND
    if any(line.kind == "thin" for line in lines):
        yield _THIN
    if quantity is ACCURACY:
        yield _BY_ERROR
        if len(rows) <= FEW:
            yield "Numbers are where lines end."


def _ends(quantity: _Quantity, rows: Sequence[CurvedRow]) -> str:
    """The lowest and highest end of the rows, for those who do not see them."""
    if quantity is not ACCURACY:
        return ""
    found = [final_accuracy(_curves(quantity, row)) for row in rows]
    ends = [end for end in found if end is not None]
    low, high = min(ends), max(ends)
    return f" They end at {low:.2f} %" + (f" to {high:.2f} %." if high > low else ".")
