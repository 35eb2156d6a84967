"""How near steps come to what the machine can do: the roofline of Williams et al. (2009)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mnistbench.output.charts.picture import Key, Line, Panel, Picture, axis_over
from mnistbench.schema.escaping import brief
from mnistbench.schema.insight import Ceilings, StepWork

_GIGA = 1e9
_ANY = 1e30
"""Beyond it, and below one by it, an axis has no numbers."""


class RooflinePoint(NamedTuple):
    """A row: the work of its step, and the machine that it ran on, as a reader knows it.

    Its `place` among the rows of the page gives it its colour.
    """

    name: str
    machine: str
    work: StepWork
    place: int = 0

    @property
    def intensity(self) -> float:
        """Operations of a step for each byte that it moves."""
        return self.work.flops / self.work.traffic_bytes

    @property
    def flops_per_s(self) -> float:
        """Operations per second that a step came to."""
        return self.work.flops / self.work.step_s


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
        panels=[_panel(told)],
        keys=[Key(text=p.name, row=p.name, look=p.place, points=True) for p in told],
    )


def _has_a_place(point: RooflinePoint) -> bool:
    """Whether it has operations and bytes, at speeds that any machine could have."""
    if not point.work.flops or not point.work.traffic_bytes:
        return False
    ceilings = point.work.ceilings.model_dump().values()
    return all(1 / _ANY < x < _ANY for x in (point.intensity, point.flops_per_s, *ceilings))


def _share(point: RooflinePoint) -> float:
    """What was reached of what memory and arithmetic allow at this intensity."""
    ceilings = point.work.ceilings
    roof = min(ceilings.matmul_flops_per_s, point.intensity * ceilings.copy_bytes_per_s)
    return point.flops_per_s / roof


def _panel(points: Sequence[RooflinePoint]) -> Panel:
    machines: dict[Ceilings, list[str]] = {}
    for machine, roof in {point.machine: point.work.ceilings for point in points}.items():
        machines.setdefault(roof, []).append(machine)
    xs = [point.intensity for point in points]
    ridges = [roof.matmul_flops_per_s / roof.copy_bytes_per_s for roof in machines]
    ends = min([*xs, *ridges]) / 4, max([*xs, *ridges]) * 4
    lines = [
        line
        for roof, names in machines.items()
        for line in _roof(", ".join(names), roof, ends, named=len(machines) > 1)
    ]
    lines += [
        Line(
            xs=[point.intensity],
            ys=[point.flops_per_s / _GIGA],
            row=point.name,
            look=point.place,
            kind="points",
            told=f"{100 * _share(point):.2g} % of what memory and arithmetic allow",
        )
        for point in points
    ]
    ys = [y for line in lines for y in line.ys]
    return Panel(
        x=axis_over("operations per byte", ends, scale="log"),
        y=axis_over("Gflop/s", ys, scale="log"),
        marks=lines,
    )


def _roof(
    machine: str, roof: Ceilings, ends: tuple[float, float], *, named: bool
) -> Iterable[Line]:
    flat = roof.matmul_flops_per_s / _GIGA
    for speed, cached in ((roof.copy_bytes_per_s, False), (roof.cached_copy_bytes_per_s, True)):
        ridge = min(max(roof.matmul_flops_per_s / speed, ends[0]), ends[1])
        xs = [ends[0], ridge, ends[1]]
        ys = [min(flat, x * speed / _GIGA) for x in xs]
        text = brief(machine, 30) if named and not cached else ""
        told = f"{machine}: arithmetic and {'the cache' if cached else 'memory'}"
        yield Line(xs=xs, ys=ys, kind="dashed" if cached else "line", text=text, told=told)
