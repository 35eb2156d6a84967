"""From a picture to its shapes: axes, marks and legend, each in its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite

from mnistbench.output.charts.layout import TITLE_LINE, Box, Layout, laid_out, shortened
from mnistbench.output.charts.looks import DASHES, FEW, PARTS
from mnistbench.output.charts.picture import Axis, Bars, Dot, Key, Line, Panel, Picture
from mnistbench.output.charts.shapes import (
    Copy,
    Disc,
    Group,
    Path,
    Point,
    Shape,
    Words,
)

__all__ = ["painted"]

_DOWN = 3.4
"""From the middle of a small letter to its base."""

_WIDTHS = {"pale": 0.6, "thin": 0.8, "dashed": 1.1}
_BAND = 0.18


def painted(picture: Picture, width: float) -> tuple[float, list[Shape]]:
    """The height of `picture` at this `width`, and its shapes from back to front."""
    layout = laid_out(picture, width)
    shapes: list[Shape] = []
    first = layout.boxes[0]
    behind = Group(
        name=f"{picture.name}-behind",
        shapes=[_line(_Place(picture.panels[0], first), line) for line in picture.behind],
    )
    for index, (panel, box) in enumerate(zip(picture.panels, layout.boxes, strict=True)):
        place = _Place(panel, box)
        inside = [*_heading(picture, layout, index), *_ticks(picture, layout, index)]
        if picture.behind:
            moved = (box.left - first.left, box.top - first.top)
            inside.append(Copy(group=behind, moved=moved) if index else behind)
        inside += [_mark(place, mark, layout) for mark in panel.marks]
        ends = {"box": " ".join(f"{x:.1f}" for x in box), "x": _ends(panel.x), "y": _ends(panel.y)}
        shapes.append(Group(kind="panel", data=ends, shapes=inside))
    shapes += _x_label(picture, layout)
    if picture.keys:
        keys = map(_key, picture.keys, layout.keys)
        shapes.append(Group(kind="legend", shapes=list(keys)))
    return layout.height, shapes


class _Place:
    """A panel in its box: from values to points."""

    def __init__(self, panel: Panel, box: Box) -> None:
        self.panel, self.box = panel, box

    @property
    def right(self) -> float:
        return self.box.left + self.box.width

    def x(self, value: float) -> float:
        return self.box.left + self.box.width * self.panel.x.place(value)

    def y(self, value: float) -> float:
        return self.box.bottom - self.box.height * self.panel.y.place(value)

    def points(self, xs: Iterable[float], ys: Iterable[float]) -> list[Point]:
        return [(self.x(x), self.y(y)) for x, y in zip(xs, ys, strict=True)]


def _heading(picture: Picture, layout: Layout, index: int) -> Iterable[Shape]:
    """The lines of a title; above the first panel, or each in a column, the y axis' label."""
    box, lines, label = layout.boxes[index], layout.titles[index], picture.panels[index].y.label
    base = box.top - 4.0
    for above, line in enumerate(reversed(lines)):
        yield Words(text=line, at=(box.left, base - TITLE_LINE * above), kind="title", colour="ink")
    if label and (picture.columns == 1 or not index):
        most = max(map(len, layout.titles))
        base -= TITLE_LINE * most + (4.0 if most else 0.0)
        yield Words(text=label, at=(2.0, base), kind="label", colour="ink")


def _ticks(picture: Picture, layout: Layout, index: int) -> Iterable[Shape]:
    """Grid lines at the ticks, and their texts where no panel is further left or below."""
    panel, box = picture.panels[index], layout.boxes[index]
    place = _Place(panel, box)
    xs, ys = [place.x(tick) for tick, _ in panel.x.ticks], [place.y(y) for y, _ in panel.y.ticks]
    spans = [(box.top, box.bottom)]
    if layout.above:  # not through the names
        spans = [(y - 6.0, y + 9.0) for y in map(place.y, range(len(panel.marks)))]
    grid = [[(x, top), (x, bottom)] for x in xs for top, bottom in spans]
    grid += [[(box.left, y), (place.right, y)] for y in ys]
    yield Group(kind="grid", colour="grid", shapes=[Path(lines=grid)])
    yield Path(lines=[[(box.left, box.bottom), (place.right, box.bottom)]], colour="muted")
    if index + picture.columns >= len(picture.panels):
        texts: list[Shape] = [
            Words(text=text, at=(x, box.bottom + 11.0), anchor="middle", value=value)
            for x, (value, text) in zip(xs, panel.x.ticks, strict=True)
        ]
        yield Group(kind="ticks x", colour="muted", shapes=texts)
    if ys and index % picture.columns == 0:
        texts = [
            Words(text=text, at=(box.left - 4.0, y + _DOWN), anchor="end", value=value)
            for y, (value, text) in zip(ys, panel.y.ticks, strict=True)
        ]
        yield Group(kind="ticks y", colour="muted", shapes=texts)


def _mark(place: _Place, mark: Line | Dot | Bars, layout: Layout) -> Shape:
    if isinstance(mark, Line):
        return _line(place, mark)
    y, left = place.y(mark.y), place.box.left
    if layout.above:
        label = shortened(mark.label, layout.width - left)
        name = Words(text=label, at=(left, y - 9.0), colour="ink")
    else:
        name = Words(text=mark.label, at=(left - 6.0, y + _DOWN), anchor="end", colour="ink")
    drawn = _dot(place, mark) if isinstance(mark, Dot) else _bars(place, mark)
    return Group(kind="row", data={"row": mark.row}, shapes=[name, *drawn])


def _line(place: _Place, line: Line) -> Group:
    """A series: its band, its line, its marks, and its numbers for whoever asks."""
    points = place.points(line.xs, line.ys)
    shapes: list[Shape] = list(_interval(place, line))
    if line.kind != "points":
        dash = "4 3" if line.kind == "dashed" else DASHES[(line.look or 0) // FEW % len(DASHES)]
        width = _WIDTHS.get(line.kind, 1.5)
        dash = "" if line.kind == "pale" else dash
        shapes.append(Path(lines=_known(points), kind="line", width=width, dash=dash))
    if line.marks:
        radius = 4.0 if line.kind == "points" else 2.2
        every = max(len(points) // line.marks, 1)
        shapes += [_disc(at, line.look or 0, radius) for at in points[::every] if _is_known(at)]
    if line.text and points:
        at = (points[-1][0], points[-1][1] - 4.0)
        shapes.append(Words(text=line.text, at=at, anchor="end", colour="muted"))
    numbers = {"x": line.xs, "y": line.ys, "low": line.low, "high": line.high}
    data = {"row": line.row} if line.row else {}
    data |= {key: " ".join(f"{x:.5g}" for x in values) for key, values in numbers.items() if values}
    pale = line.kind == "pale"
    colour = "pale" if pale else "ink" if line.look is None else f"c{line.look % FEW}"
    title = "" if pale else line.told or line.row
    return Group(kind="series", colour=colour, data=data, title=title, shapes=shapes)


def _interval(place: _Place, line: Line) -> Iterable[Shape]:
    """A band, or a bar at each point."""
    if not line.low:
        return
    low, high = place.points(line.xs, line.low), place.points(line.xs, line.high)
    if line.bars:
        bars = [pair for pair in zip(low, high, strict=True) if pair[0] != pair[1]]
        yield Path(lines=bars, kind="bars")
    else:
        edge = [point for point in (*high, *reversed(low)) if _is_known(point)]
        yield Path(lines=[edge] if edge else [], kind="band", fill=_BAND)


def _dot(place: _Place, dot: Dot) -> Iterable[Shape]:
    y = place.y(dot.y)
    if dot.x is None:
        yield Words(text=dot.text, at=(place.right, y + _DOWN), anchor="end", colour="muted")
        return
    x = end = place.x(dot.x)
    shapes: list[Shape] = []
    if dot.low is not None or dot.high is not None:
        low = place.box.left if dot.low is None else max(place.x(dot.low), place.box.left)
        end = place.right if dot.high is None else place.x(dot.high)
        lines = [[(low, y), (end, y)]]
        if dot.high is None:
            lines.append([(end - 4.0, y - 3.0), (end, y), (end - 4.0, y + 3.0)])
        shapes.append(Path(lines=lines, kind="line", width=1.6))
    shapes.append(Disc(at=(x, y), radius=3.6, hollow=dot.hollow))
    told = {"tip": dot.told}
    yield Group(colour=f"c{dot.look % FEW}", data=told, title=dot.told, shapes=shapes)
    if dot.text:
        at = (x + 6.0, y - 5.0) if dot.high is None and end > x else (end + 6.0, y + _DOWN)
        yield Words(text=dot.text, at=at, colour="muted")


def _bars(place: _Place, bars: Bars) -> Iterable[Shape]:
    y = place.y(bars.y)
    for name, start, end, told in bars.parts:
        yield _part(name, (place.x(start), place.x(end)), (y - 5.0, y + 5.0), told)
    if bars.whole is not None:
        x = place.x(bars.whole)
        yield Path(lines=[[(x, y - 7.0), (x, y + 7.0)]], colour="ink", width=1.4)


def _x_label(picture: Picture, layout: Layout) -> Iterable[Shape]:
    left = layout.boxes[0].left
    right = max(box.left + box.width for box in layout.boxes)
    at = ((left + right) / 2, layout.bottom + 25.0)
    label = picture.panels[-1].x.label
    yield Words(text=label, at=at, kind="label", colour="ink", anchor="middle")


def _key(key: Key, placed: tuple[float, float, str]) -> Group:
    """An entry of the legend: a sample and its text."""
    x, y, text = placed
    words = Words(text=text, at=(x + 22.0, y + _DOWN), colour="ink")
    data = {"row": key.row} if key.row else {}
    if key.part:
        sample = _part(key.part, (x, x + 16.0), (y - 4.0, y + 4.0))
        return Group(kind="key", data=data, shapes=[sample, words])
    shapes: list[Shape] = [_disc((x + 8.0, y), key.look, 3.6 if key.points else 2.2)]
    if not key.points:
        dash = DASHES[key.look // FEW % len(DASHES)]
        shapes.insert(0, Path(lines=[[(x, y), (x + 16.0, y)]], width=1.5, dash=dash))
    return Group(kind="key", colour=f"c{key.look % FEW}", data=data, shapes=[*shapes, words])


def _disc(at: Point, look: int, radius: float) -> Disc:
    """A marker; every other seven lines have hollow ones."""
    return Disc(at=at, radius=radius, hollow=look // FEW % 2 == 1)


def _part(name: str, xs: tuple[float, float], ys: tuple[float, float], told: str = "") -> Path:
    """A rectangle in the colour of a part."""
    colour, fill = PARTS.get(name, (None, 1.0))
    return Path(
        lines=[[(xs[0], ys[0]), (xs[1], ys[0]), (xs[1], ys[1]), (xs[0], ys[1])]],
        kind=f"part p-{name.replace(' ', '-')}",
        colour="pale" if colour is None else f"c{colour}",
        fill=fill,
        told=told,
    )


def _known(points: Sequence[Point]) -> list[list[Point]]:
    """`points` in lines, with a gap where one has no place."""
    lines: list[list[Point]] = [[]]
    for point in points:
        if _is_known(point):
            lines[-1].append(point)
        elif lines[-1]:
            lines.append([])
    return [line for line in lines if line]


def _is_known(point: Point) -> bool:
    return isfinite(point[0]) and isfinite(point[1])


def _ends(axis: Axis) -> str:
    return f"{axis.scale} {axis.low:.6g} {axis.high:.6g}"
