"""How near steps come to what the machine can do: the roofline of Williams et al. (2009)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from mnistbench.output.charts.curves import look
from mnistbench.output.charts.style import INK, MUTED, Picture, new_figure, plain_log
from mnistbench.schema.escaping import brief
from mnistbench.schema.insight import Ceilings, StepCosts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["RooflinePoint", "roofline_picture"]

_GIGA = 1e9
_ANY = 1e30
"""Beyond it, and below one by it, an axis has no numbers."""


class RooflinePoint(NamedTuple):
    """A row: the costs of its step, and the machine that it ran on, as a reader knows it."""

    name: str
    machine: str
    costs: StepCosts

    @property
    def intensity(self) -> float:
        """Operations of a step for each byte that it moves."""
        return self.costs.flops / self.costs.traffic_bytes

    @property
    def flops_per_s(self) -> float:
        """Operations per second that a step came to."""
        return self.costs.flops / self.costs.step_s


def roofline_picture(points: Sequence[RooflinePoint]) -> Picture | None:
    """The picture of `points` that have operations and bytes; ``None`` if none has."""
    told = [point for point in points if _has_a_place(point)]
    if not told:
        return None
    shares = "; ".join(f"{point.name} {100 * _share(point):.2g} %" for point in told[:7])
    return Picture(
        name="roofline",
        title="Roofline",
        caption="A step's operations per second against its operations per byte moved. The lines "
        "are the most that the machine was seen to do: memory's speed, dashed that of the cache, "
        "then arithmetic. The further below them, the more of a step is neither.",
        alt=f"Roofline; shares of what memory and arithmetic allow: {shares}.",
        draw=partial(_draw, told),
    )


def _has_a_place(point: RooflinePoint) -> bool:
    """Whether it has operations and bytes, at speeds that any machine could have."""
    if not point.costs.flops or not point.costs.traffic_bytes:
        return False
    ceilings = point.costs.ceilings.model_dump().values()
    return all(1 / _ANY < x < _ANY for x in (point.intensity, point.flops_per_s, *ceilings))


def _share(point: RooflinePoint) -> float:
    """What was reached of what memory and arithmetic allow at this intensity."""
    ceilings = point.costs.ceilings
    roof = min(ceilings.matmul_flops_per_s, point.intensity * ceilings.copy_bytes_per_s)
    return point.flops_per_s / roof


def _draw(points: Sequence[RooflinePoint]) -> Figure:
    figure = new_figure(2.4 + 0.14 * len(points))
    axes = figure.add_subplot()
    roofs = {point.machine: point.costs.ceilings for point in points}
    xs = [point.intensity for point in points]
    ridges = [roof.matmul_flops_per_s / roof.copy_bytes_per_s for roof in roofs.values()]
    low, high = min([*xs, *ridges]) / 4, max([*xs, *ridges]) * 4
    for machine, roof in roofs.items():
        _draw_roof(axes, roof, (low, high), label=machine if len(roofs) > 1 else "")
    for index, point in enumerate(points):
        style = look(index) | {"linestyle": "none", "markersize": 5}
        axes.plot(point.intensity, point.flops_per_s / _GIGA, label=brief(point.name, 52), **style)
    axes.set_xlim(low, high)
    plain_log(axes, "x")
    plain_log(axes, "y")
    axes.margins(y=0.15)
    axes.set(xlabel="operations per byte", ylabel="Gflop/s")
    figure.legend(loc="outside lower left")
    return figure


def _draw_roof(axes: Axes, roof: Ceilings, ends: tuple[float, float], *, label: str) -> None:
    flat = roof.matmul_flops_per_s / _GIGA
    for speed, style in ((roof.copy_bytes_per_s, "-"), (roof.cached_copy_bytes_per_s, "--")):
        ridge = min(max(roof.matmul_flops_per_s / speed, ends[0]), ends[1])
        xs = [ends[0], ridge, ends[1]]
        ys = [min(flat, x * speed / _GIGA) for x in xs]
        axes.plot(xs, ys, color=INK if style == "-" else MUTED, linestyle=style, linewidth=1.0)
    if label:
        text = brief(label, 30)
        axes.text(ends[1], flat, text, fontsize=7, color=MUTED, ha="right", va="bottom")
