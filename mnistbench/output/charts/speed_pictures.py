"""Speed against batch and processes, and what several processes gained over one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Literal, NamedTuple

from mnistbench.output.charts.curves import look
from mnistbench.output.charts.style import MUTED, Picture, new_figure
from mnistbench.schema.escaping import brief

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Speed", "speed_picture", "speedup_picture"]

_AXES = {"batch": "samples in a step", "processes": "processes"}


class Speed(NamedTuple):
    """What was measured at `x`: a `value` and the ends of its interval, if it has one."""

    series: str
    x: int
    value: float
    low: float | None
    high: float | None


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
        draw=partial(_draw, told, axis="samples/s", x_axis=_AXES[against], ideal=False),
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
        draw=partial(_draw, told, axis="× samples/s", x_axis="processes", ideal=True),
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


def _draw(told: Sequence[Sequence[Speed]], *, axis: str, x_axis: str, ideal: bool) -> Figure:
    figure = new_figure(2.3 + 0.14 * len(told))
    axes = figure.add_subplot()
    axes.set_xscale("log", base=2)
    for index, series in enumerate(told):
        _draw_series(axes, series, index)
    xs = sorted({speed.x for series in told for speed in series} | ({1} if ideal else set()))
    if ideal:
        axes.plot([1, xs[-1]], [1, xs[-1]], color=MUTED, linestyle="--", linewidth=0.9)
    axes.set_xticks(xs, [f"{x}" for x in xs])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.set(xlabel=x_axis, ylabel=axis)
    figure.legend(loc="outside lower left")
    return figure


def _draw_series(axes: Axes, series: Sequence[Speed], index: int) -> None:
    style = look(index)
    xs, values = [speed.x for speed in series], [speed.value for speed in series]
    if len(set(xs)) < len(xs):  # several rows at one x, between which a line would say nothing
        style["linestyle"] = "none"
    below = [speed.value - (speed.value if speed.low is None else speed.low) for speed in series]
    above = [(speed.value if speed.high is None else speed.high) - speed.value for speed in series]
    axes.errorbar(
        xs,
        values,
        yerr=[[max(0.0, one) for one in side] for side in (below, above)],
        label=brief(series[0].series, 52),
        elinewidth=0.9,
        capsize=2,
        **style,
    )
