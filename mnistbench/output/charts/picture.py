"""A picture as data: panels with axes, and marks that belong to the rows of a page.

Two modules draw it: `svg` as text for a page, `figure` by matplotlib for files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, TypeVar

from mnistbench.output.charts.ticks import error_ticks, linear_ticks, log_ticks

_T = TypeVar("_T")

Scale: TypeAlias = Literal["linear", "log", "error"]
"""How an axis goes: `error` is by the logarithm of what an accuracy [%] lacks of 100."""

_ONE_IMAGE = 0.01
"""Percent of ten thousand images; added to errors, so that none is 0."""

_ANY = 1e250
_BOUNDS: Mapping[Scale, tuple[float, float]] = {
    "linear": (-_ANY, _ANY),
    "log": (1 / _ANY, _ANY),
    "error": (0.0, 100.0),
}
"""What an axis can show, with more on either side."""

_MOST_ROWS = 80
_MARGIN = 0.05
_LEAST_SPAN = 1e-6  # of the values; numbers closer than that are all the same on an axis
_ROOM: Mapping[Scale, float] = {"log": 0.15, "error": 0.1}
"""Half of an axis on which all values are the same; a linear one goes by the value."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What an axis shows: its `label`, its ends, its `scale` and its `ticks` with their texts."""

    label: str
    low: float
    high: float
    scale: Scale = "linear"
    ticks: Sequence[tuple[float, str]] = ()

    def place(self, value: float) -> float:
        """Where `value` is, from 0 at `low` to 1 at `high`; NaN if it is not on the axis."""
        if not min(self.low, self.high) <= value <= max(self.low, self.high):
            return math.nan
        low, high = _height(self.low, self.scale), _height(self.high, self.scale)
        return (_height(value, self.scale) - low) / (high - low)


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points, joined by a line, with `low` and `high` ends of their intervals, if these have any.

    Attributes:
        row: the row of the page that it belongs to; empty if to none.
        look: its colour, line and marker by number; ``None`` is ink, for what is no measurement.
        kind: `pale` is behind others, `thin` one of several runs, `points` are not joined, each
            is marked and has a bar; the intervals of others are a band.
        marks: of a line the most points that are marked; 0 marks none.
        text: written at its end.
        told: what it is, or its numbers if it is of `points`, in words.
    """

    xs: Sequence[float]
    ys: Sequence[float]
    row: str = ""
    look: int | None = None
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    kind: Literal["line", "thin", "pale", "dashed", "points"] = "line"
    marks: int = 0
    text: str = ""
    told: str = ""


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A value `x` of a row with its interval, in line `y` from the top.

    Where `x` was not reached `text`, which is written behind it, says so; without `high` its
    interval has no upper end. `told` has its numbers in words.
    """

    row: str
    label: str
    look: int
    y: int
    x: float | None
    low: float | None = None
    high: float | None = None
    hollow: bool = False
    text: str = ""
    told: str = ""


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Stacked bars of a row, in line `y` from the top.

    Each of the `parts` has its start, its end and its numbers in words; `whole` is where they
    should come to, if that was measured.
    """

    row: str
    label: str
    y: int
    parts: Sequence[tuple[str, float, float, str]]
    whole: float | None = None


Mark: TypeAlias = Line | Dot | Bars


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Marks on a pair of axes, below a title."""

    x: Axis
    y: Axis
    marks: Sequence[Mark]
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Key:
    """An entry of the legend: of a line by its `look`, or of a `part` of bars."""

    text: str
    row: str = ""
    look: int = 0
    part: str = ""
    points: bool = False


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture that can be drawn; `name` is that of its files, without suffix.

    `caption` says how marks are to be read, `alt` what they show to those who do not see it. Panels
    in several `columns` have the same axes. Lines `behind` are drawn in every panel, pale.
    """

    name: str
    title: str
    caption: str
    alt: str
    panels: Sequence[Panel]
    columns: int = 1
    behind: Sequence[Line] = ()
    keys: Sequence[Key] = ()


def axis_over(
    label: str,
    values: Iterable[float],
    *,
    scale: Scale = "linear",
    at_most: int = 6,
    whole: bool = False,
) -> Axis:
    """An axis over all `values`, with some room, and about `at_most` ticks; `whole` if can be.

    What has no place on it, as 0 on a logarithmic one, does not count; where nothing counts, it is
    linear.
    """
    values = list(values)
    least, most = _BOUNDS[scale]
    shown = [value for value in values if least <= value <= most]
    if not shown and scale != "linear":
        return axis_over(label, values, at_most=at_most, whole=whole)
    low, high = _widened(min(shown, default=0.0), max(shown, default=1.0), scale)
    axis = Axis(label=label, low=low, high=high, scale=scale)
    if scale == "error":
        ticks = error_ticks(low, high, at_most, axis.place)
    elif scale == "linear":
        ticks = linear_ticks(low, high, at_most, whole=whole)
    else:
        ticks = log_ticks(low, high, at_most)
    return ticked(axis, ticks)


def ticked(axis: Axis, ticks: Iterable[float]) -> Axis:
    """`axis` with other `ticks`, each a number as it is spoken: 0.1, 20, 5,000."""
    return replace(axis, ticks=[(tick, f"{tick:,.10g}") for tick in ticks])


def rows_axis(count: int) -> Axis:
    """The axis of `count` lines of dots or bars, the first at the top."""
    return Axis(label="", low=count - 0.5, high=-0.5)


def first_rows(rows: Sequence[_T]) -> tuple[Sequence[_T], str]:
    """What of `rows` one picture has lines for, and what to say of the others."""
    told = f" The first {_MOST_ROWS} of {len(rows)} rows." if len(rows) > _MOST_ROWS else ""
    return rows[:_MOST_ROWS], told


def _height(value: float, scale: Scale) -> float:
    """`value` as it counts on an axis of `scale`."""
    if scale == "error":
        return -math.log10(100.0 + _ONE_IMAGE - value)
    return value if scale == "linear" else math.log10(value)


def _value(height: float, scale: Scale) -> float:
    """What has this `height`."""
    if scale == "error":
        return 100.0 + _ONE_IMAGE - math.pow(10.0, -height)
    return height if scale == "linear" else math.pow(10.0, height)


def _widened(least: float, most: float, scale: Scale) -> tuple[float, float]:
    """Ends of an axis with room for `least` and `most`, but none below 0 where none of them is."""
    low, high = _height(least, scale), _height(most, scale)
    room = _MARGIN * (high - low)
    if high - low <= _LEAST_SPAN * max(abs(low), abs(high), 1 / _ANY):
        room = _ROOM.get(scale) or (_MARGIN * abs(high) if abs(high) > 1 / _ANY else 1.0)
    start = _value(low - room, scale)
    return max(start, 0.0) if least >= 0 else start, _value(high + room, scale)
