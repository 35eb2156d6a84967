"""How long groups took to a target: a dot for each median, a line for its interval."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from mnistbench.analysis.number_text import goal, seconds
from mnistbench.output.charts.picture import (
    Axis,
    Dot,
    Panel,
    Picture,
    axis_over,
    first_rows,
    rows_axis,
)
from mnistbench.schema.record import Target
from mnistbench.stats.readings import Level

_TOLD = 7
_WIDE = 20.0
"""Times this factor apart need a logarithmic axis."""

_ROOM = 0.15


class TimedRow(NamedTuple):
    """A group's median time to the target [seconds], and what is to be said behind its name.

    Its `place` among the rows of the page gives it its colour.
    """

    name: str
    time_s: Level
    mark: str = ""
    place: int = 0


def time_picture(rows: Sequence[TimedRow], target: Target | float) -> Picture | None:
    """The picture of `rows`, as ordered, at a `target`; ``None`` if no row got there."""
    if not any(row.time_s.reached for row in rows):
        return None
    drawn, told = first_rows(rows)
    dots = list(map(_dot, count(), drawn))
    return Picture(
        name=_file_name(target),
        title=f"Train time to {goal(target)}",
        caption=_caption(rows) + told,
        alt=f"Median train seconds to {goal(target)}: {_told(drawn)}.",
        panels=[Panel(x=_axis(rows), y=rows_axis(len(drawn)), marks=dots)],
    )


def _file_name(target: Target | float) -> str:
    value = target.value if isinstance(target, Target) else target
    if not isinstance(target, Target) or target.metric == "accuracy":
        return f"time-to-{value * 100:.10g}".replace(".", "-")
    return "time-to-" + re.sub(r"[^A-Za-z0-9]+", "-", f"{target.metric}-{value:.10g}").strip("-")


def _caption(rows: Sequence[TimedRow]) -> str:
    """How dots, lines and numbers are to be read, as far as there are any."""
    times = [row.time_s for row in rows]
    if all(time.n == 1 for time in times):
        return "A dot is the time of one run."
    ends = [(time.low, time.high) for time in times if time.value is not None and time.n > 1]
    notes = {
        "a line its 95 % interval": any(low is not None for low, _ in ends),
        "an arrow has no upper end": any(low is not None and high is None for low, high in ends),
        "a hollow dot no interval": (None, None) in ends,
        "numbers are how many seeds got there": any(time.reached < time.n for time in times),
    }
    said = [note for note, holds in notes.items() if holds]
    return "; ".join(["A dot is the median over all seeds (Turnbull)", *said]) + "."


def _told(rows: Sequence[TimedRow]) -> str:
    told = [f"{row.name} {_seconds(row.time_s)}" for row in rows]
    return "; ".join(told[:_TOLD]) + f"; and {len(told) - _TOLD} more" * (len(told) > _TOLD)


def _seconds(time: Level) -> str:
    """The median, or how many seeds got there where these are too few for one."""
    if time.value is not None:
        return seconds(time.value)
    return f"{time.reached} of {time.n} reached" if time.n > 1 else "not reached"


def _axis(rows: Sequence[TimedRow]) -> Axis:
    """From 0, or logarithmic if times are far apart; with room for texts at the right."""
    times = [row.time_s for row in rows]
    drawn = [x for time in times for x in (time.value, time.low, time.high) if x is not None]
    low, high = min(drawn), max(drawn)
    if low > 0 and high > _WIDE * low:
        room = (high / low) ** _ROOM
        return axis_over("train seconds", [low, high * room], scale="log")
    return axis_over("train seconds", [0.0, high * (1 + _ROOM)])


def _dot(y: int, row: TimedRow) -> Dot:
    time = row.time_s
    known = time.low is not None or time.high is not None
    text = f"{time.reached} of {time.n}" if time.reached < time.n > 1 else ""
    return Dot(
        row=row.name,
        label=row.name + row.mark,
        look=row.place,
        y=y,
        x=time.value,
        low=time.low,
        high=time.high,
        hollow=not known and time.n > 1,
        text=_seconds(time) if time.value is None else text,
        told=_in_words(time) if known else f"{_seconds(time)} s",
    )


def _in_words(time: Level) -> str:
    """A median with its interval, and of how many seeds it is."""
    low, high = ("" if end is None else seconds(end) for end in (time.low, time.high))
    return f"{_seconds(time)} s ({low or '0'}–{high or '∞'}), {time.reached} of {time.n} seeds"
