"""Where time goes, as stacked bars: the clock ledger of runs, and what a step is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from mnistbench.output.charts.rows import parts_of, row_figure
from mnistbench.output.charts.style import COLOURS, INK, MUTED, PALE, Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Stack", "ledger_pictures", "step_pictures"]

_BLUE, _RED, _GREEN, _PINK, _ORANGE, _SKY, _BLACK = COLOURS
_HATCH = "////"
_LOOKS: Mapping[str, tuple[str, str]] = {
    "import": (_SKY, ""),
    "startup": (_SKY, _HATCH),
    "data": (_PINK, ""),
    "build": (_PINK, _HATCH),
    "compile": (_GREEN, ""),
    "train": (_BLUE, ""),
    "eval": (_ORANGE, ""),
    "checkpoint": (_RED, ""),
    "profile": (_BLACK, ""),
    "arithmetic": (_BLUE, ""),
    "memory traffic": (_SKY, ""),
    "calls": (_ORANGE, ""),
    "loader": (_PINK, ""),
    "communication": (_GREEN, ""),
    "other": (PALE, ""),
}
"""Colour and hatch of each part, the same in every picture."""

_LEAST = 0.005
"""A part below this share of the longest bar in all rows goes into `other`."""


class Stack(NamedTuple):
    """A row: its name, its parts in order, and the whole that they are to come to, if measured."""

    name: str
    parts: Mapping[str, float]
    whole: float | None = None


def ledger_pictures(rows: Sequence[Stack]) -> list[Picture]:
    """Wall seconds of each row by what they were spent on; none without rows."""
    return _pictures(
        rows,
        name="clock-ledger",
        title="Where the wall clock went",
        axis="seconds",
        caption="Mean seconds of a run by phase, one run after another; the parts come to its wall "
        "time.",
    )


def step_pictures(rows: Sequence[Stack]) -> list[Picture]:
    """Milliseconds of a step of each row by what takes them; none without rows."""
    return _pictures(
        rows,
        name="step-costs",
        title="What a step is made of",
        axis="milliseconds a step",
        caption="The least that arithmetic and memory traffic could take at the machine's "
        "ceilings, the cost of calls whatever the batch, and waiting; the tick is the median "
        "step, and what lies between is other.",
    )


def _pictures(
    rows: Sequence[Stack], *, name: str, title: str, axis: str, caption: str
) -> list[Picture]:
    parts, told = parts_of(rows)
    shown = _shown(rows)
    widest = max((max(sum(row.parts.values()), row.whole or 0.0) for row in rows), default=0.0)
    return [
        Picture(
            name=name + (f"-{k}" if k > 1 else ""),
            title=title + (f", part {k}" if k > 1 else ""),
            caption=caption + told,
            alt=f"{title}: stacked bars of {len(part)} row{'s' * (len(part) > 1)} by "
            f"{', '.join(shown)}. {_largest(part)}",
            draw=partial(_draw, [_merged(row, shown) for row in part], axis=axis, widest=widest),
        )
        for k, part in enumerate(parts, start=1)
    ]


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


def _largest(rows: Sequence[Stack]) -> str:
    first = rows[0]
    largest = max(first.parts, key=lambda part: first.parts[part])
    whole = sum(first.parts.values())
    share = f"{100 * first.parts[largest] / whole:.0f} %" if whole else "nothing"
    return f"In the first row, {largest} is {share}."


def _draw(rows: Sequence[Stack], *, axis: str, widest: float) -> Figure:
    names = list(rows[0].parts)
    legend_rows = -(-len(names) // 4)
    figure, axes = row_figure([row.name for row in rows], below_in=0.55 + 0.15 * legend_rows)
    left = [0.0] * len(rows)
    for name in names:
        widths = [row.parts[name] for row in rows]
        axes.barh(range(len(rows)), widths, left=left, label=name, height=0.5, **_look(name))
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for y, row in enumerate(rows):
        if row.whole is not None:
            axes.plot([row.whole, row.whole], [y - 0.32, y + 0.32], color=INK, linewidth=1.2)
    axes.set_xlim(0, widest * 1.03 or 1.0)
    axes.set_xlabel(axis)
    figure.legend(
        loc="outside lower left", ncols=4, handlelength=1.0, handletextpad=0.4, columnspacing=1.0
    )
    return figure


def _look(name: str) -> dict[str, Any]:
    colour, hatch = _LOOKS.get(name, (MUTED, ""))
    return {"color": colour, "hatch": hatch, "edgecolor": "white" if hatch else "none"}
