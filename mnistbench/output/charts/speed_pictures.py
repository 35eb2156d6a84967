"""Speed against batch and processes, and what several processes gained over one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from mnistbench.output.charts.picture import Key, Line, Panel, Picture, axis_over, ticked
from mnistbench.output.charts.ticks import spread_out

_AXES = {"batch": "samples in a step", "processes": "processes"}
_APART = 0.09  # of the axis, from the middle of one number to that of the next


class Speed(NamedTuple):
    """What was measured at `x`: a `value` and the ends of its interval, if it has one.

    `row` is the row of the page that it belongs to; empty if there is none.
    """

    series: str
    x: int
    value: float
    low: float | None
    high: float | None
    row: str = ""


def speed_picture(
    speeds: Sequence[Speed], *, against: Literal["batch", "processes"]
) -> Picture | None:
    """Samples per second of each series `against` its x; ``None`` where no series has two."""
    told = [series for series in _series(speeds) if len({speed.x for speed in series}) > 1]
    if not told:
        return None
    return Picture(
        name=f"throughput-by-{against}",
        title=f"Throughput by {against}",
        caption="Mean samples per second on the train clock, with 95 % intervals of the mean over "
        "seeds where there are several.",
        alt=f"Samples per second against {against}: {_told(told, ' samples/s', '{:,.0f}')}.",
        panels=[_panel(told, label="samples/s", x_label=_AXES[against], ideal=False)],
        keys=_keys(told),
    )


def speedup_picture(speedups: Sequence[Speed], *, number: int = 0) -> Picture | None:
    """Samples per second over those of one process, against processes; ``None`` without any."""
    told = _series(speedups)
    if not told:
        return None
    return Picture(
        name="speed-up" + (f"-{number}" if number else ""),
        title="Speed-up by processes",
        caption="Samples per second over those of one process, with 95 % intervals; the dashed "
        "line is as many times as processes. Strong: the same global batch; weak: the same batch "
        "on each process.",
        alt=f"Speed-up over one process: {_told(told, ' times', '{:.2f}')}.",
        panels=[_panel(told, label="× samples/s", x_label="processes", ideal=True)],
        keys=_keys(told),
    )


def _series(speeds: Sequence[Speed]) -> list[list[Speed]]:
    order = list(dict.fromkeys(speed.series for speed in speeds))
    ordered = sorted(speeds, key=lambda speed: (order.index(speed.series), speed.x))
    return [list(same) for _, same in groupby(ordered, key=lambda speed: speed.series)]


def _told(told: Sequence[Sequence[Speed]], unit: str, form: str) -> str:
    ends = [(series[0].series, series[0], series[-1]) for series in told[:7]]
    return "; ".join(
        f"{name} from {form.format(first.value)} at {first.x} to {form.format(last.value)}{unit} "
        f"at {last.x}"
        for name, first, last in ends
    )


def _keys(told: Sequence[Sequence[Speed]]) -> list[Key]:
    return [Key(text=series[0].series, look=look) for look, series in enumerate(told)]


def _panel(told: Sequence[Sequence[Speed]], *, label: str, x_label: str, ideal: bool) -> Panel:
    xs = sorted({speed.x for series in told for speed in series} | ({1} if ideal else set()))
    lines = [line for look, series in enumerate(told) for line in _lines(series, look, label)]
    if ideal:
        ends = [1.0, float(xs[-1])]
        lines.insert(0, Line(xs=ends, ys=ends, kind="dashed", told="as many times as processes"))
    x = axis_over(x_label, xs, scale="log")
    shown = spread_out(xs, x.place, apart=_APART)
    ys = [y for line in lines for y in (*line.ys, *line.low, *line.high)]
    y = axis_over(label, [0.0, *ys])
    return Panel(x=ticked(x, shown), y=y, marks=lines)


def _lines(series: Sequence[Speed], look: int, unit: str) -> Iterable[Line]:
    """A line through the points of a `series`, and each point by itself, as each is of a row."""
    xs = [speed.x for speed in series]
    if len(set(xs)) == len(xs) > 1:  # between several rows at one x a line would say nothing
        values = [speed.value for speed in series]
        yield Line(xs=xs, ys=values, look=look, told=series[0].series)
    for speed in series:
        ends = [] if speed.low is None or speed.high is None else [speed.low, speed.high]
        yield Line(
            xs=[speed.x],
            ys=[speed.value],
            row=speed.row,
            look=look,
            kind="points",
            told=_in_words(speed, unit),
            low=ends[:1],
            high=ends[1:],
        )


def _in_words(speed: Speed, unit: str) -> str:
    spread = (
        "" if speed.low is None or speed.high is None else f" ({speed.low:,.4g}–{speed.high:,.4g})"
    )
    return f"{speed.series}: {speed.value:,.4g}{spread} {unit} at {speed.x:,}"
