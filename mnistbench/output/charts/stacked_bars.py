"""Where time goes, as stacked bars: the clock ledger of runs, and what a step is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from mnistbench.output.charts.picture import (
    Bars,
    Key,
    Panel,
    Picture,
    axis_over,
    first_rows,
    rows_axis,
)

_LEAST = 0.005
"""A part below this share of the longest bar in all rows goes into `other`."""


class Stack(NamedTuple):
    """A row: its name, its parts in order, and the whole that they are to come to, if measured."""

    name: str
    parts: Mapping[str, float]
    whole: float | None = None


def ledger_picture(rows: Sequence[Stack]) -> Picture:
    """Wall seconds of each row by what they were spent on."""
    return _picture(
        rows,
        name="clock-ledger",
        title="Where the wall clock went",
        unit="seconds",
        caption="Mean seconds of a run by phase, one run after another; the parts come to its wall "
        "time.",
    )


def step_picture(rows: Sequence[Stack]) -> Picture:
    """Milliseconds of a step of each row by what takes them."""
    return _picture(
        rows,
        name="step-costs",
        title="What a step is made of",
        unit="milliseconds a step",
        caption="The least that arithmetic and memory traffic could take at the machine's "
        "ceilings, the cost of calls whatever the batch, and waiting; the tick is the median "
        "step, and what lies between is other.",
    )


def _picture(rows: Sequence[Stack], *, name: str, title: str, unit: str, caption: str) -> Picture:
    shown = _shown(rows)
    ends = [max(sum(row.parts.values()), row.whole or 0.0) for row in rows]
    drawn, told = first_rows([_merged(row, shown) for row in rows])
    axis = axis_over(unit, [0.0, *ends], at_most=7)
    bars = [
        Bars(row=row.name, label=row.name, y=y, parts=_placed(row.parts, unit), whole=row.whole)
        for y, row in enumerate(drawn)
    ]
    return Picture(
        name=name,
        title=title,
        caption=caption + told,
        alt=f"{title}: stacked bars of {len(drawn)} row{'s' * (len(drawn) > 1)} by "
        f"{', '.join(shown)}. {_largest(drawn[0])}",
        panels=[Panel(x=axis, y=rows_axis(len(drawn)), marks=bars)],
        keys=[Key(text=k, part=k) for k in shown if any(row.parts[k] > 0 for row in drawn)],
    )


def _shown(rows: Sequence[Stack]) -> list[str]:
    """The parts that are large enough somewhere to be seen, in their order, `other` last."""
    longest = max((sum(row.parts.values()) for row in rows), default=0.0)
    order = dict.fromkeys(part for row in rows for part in row.parts if part != "other")
    large = [
        part for part in order if any(row.parts.get(part, 0.0) > _LEAST * longest for row in rows)
    ]
    return [*large, "other"]


def _merged(row: Stack, shown: Sequence[str]) -> Stack:
    kept = {part: row.parts.get(part, 0.0) for part in shown if part != "other"}
    rest = sum(row.parts.values()) - sum(kept.values())
    return row._replace(parts=kept | {"other": max(rest, 0.0)})


def _largest(first: Stack) -> str:
    largest = max(first.parts, key=lambda part: first.parts[part])
    whole = sum(first.parts.values())
    share = f"{100 * first.parts[largest] / whole:.0f} %" if whole else "nothing"
    return f"In the first row, {largest} is {share}."


def _placed(parts: Mapping[str, float], unit: str) -> list[tuple[str, float, float, str]]:
    """Each part behind those before it, with its numbers in words."""
    ends = list(accumulate(parts.values(), initial=0.0))
    return [
        (name, start, end, f"{name} {value:,.3g} {unit}")
        for (name, value), start, end in zip(parts.items(), ends, ends[1:], strict=False)
        if value > 0
    ]
