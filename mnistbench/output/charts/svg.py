"""Pictures as SVG: axes, marks and legend, each in its place, coloured by classes.

Marks of a row stand in a group that names it in `data-row`. A line's numbers are in `data-x`,
`data-y`, `data-low` and `data-high` of its group, a panel's place and scales in `data-box`,
`data-x` and `data-y` of the panel, so that a script can read and redraw them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from xml.etree.ElementTree import Element, tostring

from mnistbench.output.charts.layout import (
    SAMPLE,
    SMALL,
    TITLE_LINE,
    Box,
    Layout,
    laid_out,
    shortened,
)
from mnistbench.output.charts.picture import Axis, Bars, Dot, Key, Line, Mark, Panel, Picture
from mnistbench.output.charts.shapes import (
    DASHES,
    FEW,
    Point,
    area,
    disc,
    group,
    length,
    part,
    stroke,
    text,
    titled,
)
from mnistbench.schema.escaping import printable

_PAGE_WIDTH = 420.0
"""The width at which letters are as large as those of a page's captions."""

_DOWN = 3.4
"""From the middle of a small letter to its base."""

_BAND = 0.18
_WIDTHS = {"pale": 0.6, "thin": 0.8, "dashed": 1.1}


def svg_text(picture: Picture) -> str:
    """`picture` as an SVG element without styles and scripts, the same text each time."""
    return tostring(svg_element(picture, _PAGE_WIDTH), encoding="unicode")


def svg_element(picture: Picture, width: float) -> Element:
    """The same as an element, from which files are drawn as well."""
    layout = laid_out(picture, width)
    shapes = [_panel(_Place(picture, layout, index)) for index in range(len(picture.panels))]
    middle = (layout.boxes[0].left + max(box.left + box.width for box in layout.boxes)) / 2
    at, label = (middle, layout.bottom + 25.0), picture.panels[-1].x.label
    shapes.append(text(label, at, "label ink", anchor="middle"))
    if picture.keys:
        shapes.append(group("legend", map(_key, picture.keys, layout.keys)))
    box = f"0 0 {length(width)} {length(layout.height)}"
    told = {"role": "img", "aria-label": printable(picture.alt), "font-size": f"{SMALL:g}"}
    svg = Element("svg", {"class": "chart", "viewBox": box} | told)
    svg.extend(shapes)
    return svg


@dataclass(frozen=True)
class _Place:
    """A panel of a picture in its box: from values to points."""

    picture: Picture
    layout: Layout
    index: int

    @property
    def panel(self) -> Panel:
        return self.picture.panels[self.index]

    @property
    def box(self) -> Box:
        return self.layout.boxes[self.index]

    @property
    def right(self) -> float:
        return self.box.left + self.box.width

    def x(self, value: float) -> float:
        return self.box.left + self.box.width * self.panel.x.place(value)

    def y(self, value: float) -> float:
        return self.box.bottom - self.box.height * self.panel.y.place(value)

    def points(self, xs: Iterable[float], ys: Iterable[float]) -> list[Point]:
        return [(self.x(x), self.y(y)) for x, y in zip(xs, ys, strict=True)]


def _panel(place: _Place) -> Element:
    inside = [*_heading(place), *_ticks(place), *_behind(place)]
    inside += [_mark(place, mark) for mark in place.panel.marks]
    x, y = (f"{a.scale} {a.low:.6g} {a.high:.6g}" for a in (place.panel.x, place.panel.y))
    return group("panel", inside, box=" ".join(map(length, place.box)), x=x, y=y)


def _behind(place: _Place) -> Iterable[Element]:
    """The pale lines: they stand in the first panel, and others use them from there."""
    name, lines = f"{place.picture.name}-behind", place.picture.behind
    if lines and not place.index:
        drawn = group("", [_line(place, line) for line in lines])
        drawn.set("id", name)
        yield drawn
    elif lines:
        box, first = place.box, place.layout.boxes[0]
        x, y = length(box.left - first.left), length(box.top - first.top)
        yield Element("use", {"href": f"#{name}", "x": x, "y": y})


def _heading(place: _Place) -> Iterable[Element]:
    """The lines of a title; above the first panel, or each in a column, the y axis' label."""
    titles, label, base = place.layout.titles, place.panel.y.label, place.box.top - 4.0
    for above, line in enumerate(reversed(titles[place.index])):
        yield text(line, (place.box.left, base - TITLE_LINE * above), "title ink")
    if label and (place.picture.columns == 1 or not place.index):
        most = max(map(len, titles))
        base -= TITLE_LINE * most + 4.0
        yield text(label, (2.0, base), "label ink")


def _ticks(place: _Place) -> Iterable[Element]:
    """Grid lines at the ticks, and their texts where no panel is further left or below."""
    panel, box, columns = place.panel, place.box, place.picture.columns
    xs, ys = [place.x(tick) for tick, _ in panel.x.ticks], [place.y(y) for y, _ in panel.y.ticks]
    spans = [(box.top, box.bottom)]
    if place.layout.above:  # not through the names
        spans = [(y - 6.0, y + 9.0) for y in map(place.y, range(len(panel.marks)))]
    upright = stroke([[(x, top), (x, bottom)] for x in xs for top, bottom in spans], "x")
    yield group("grid", [upright, stroke([[(box.left, y), (place.right, y)] for y in ys], "y")])
    yield stroke([[(box.left, box.bottom), (place.right, box.bottom)]], "muted")
    if place.index + columns >= len(place.picture.panels):
        yield _tick_texts("x", panel.x, [(x, box.bottom + 11.0) for x in xs])
    if ys and place.index % columns == 0:
        yield _tick_texts("y", panel.y, [(box.left - 4.0, y + _DOWN) for y in ys])


def _tick_texts(which: str, axis: Axis, points: Sequence[Point]) -> Element:
    anchor, told = "middle" if which == "x" else "end", zip(axis.ticks, points, strict=True)
    texts = [text(words, at, "", anchor=anchor, value=value) for (value, words), at in told]
    return group(f"ticks {which} muted", texts)


def _mark(place: _Place, mark: Mark) -> Element:
    if isinstance(mark, Line):
        return _line(place, mark)
    y, left = place.y(mark.y), place.box.left
    if place.layout.above:
        at, anchor = (left, y - 9.0), "start"
    else:
        at, anchor = (left - 6.0, y + _DOWN), "end"
    name = text(shortened(mark.label, place.layout.width - left), at, "ink", anchor=anchor)
    drawn = _dot(place, mark) if isinstance(mark, Dot) else _bars(place, mark)
    return group("row", [name, *drawn], row=mark.row)


def _line(place: _Place, line: Line) -> Element:
    """A series: its band, its line, its marks, and its numbers for whoever asks."""
    points = place.points(line.xs, line.ys)
    look, pale = line.look or 0, line.kind == "pale"
    shapes = list(_interval(place, line))
    if line.kind != "points":
        dash = "4 3" if line.kind == "dashed" else _dash(look)
        width = _WIDTHS.get(line.kind, 1.5)
        shapes.append(stroke(_known(points), "line", width=width, dash="" if pale else dash))
    most, radius = (len(points), 4.0) if line.kind == "points" else (line.marks, 2.2)
    marked = points[:: max(len(points) // most, 1)] if most else []
    shapes += [disc(at, radius, hollow=_is_hollow(look)) for at in marked if _is_known(at)]
    if line.text:
        shapes.append(text(line.text, (points[-1][0], points[-1][1] - 4.0), "muted", anchor="end"))
    numbers = {"x": line.xs, "y": line.ys, "low": line.low, "high": line.high}
    data = {
        key: " ".join(f"{value:.5g}" for value in values)
        for key, values in numbers.items()
        if values
    }
    if line.kind == "points":
        data["tip"] = line.told
    colour = "pale" if pale else "ink" if line.look is None else _colour(look)
    title = "" if pale else line.told or line.row
    return titled(group(f"series {colour}", shapes, row=line.row, **data), title)


def _interval(place: _Place, line: Line) -> Iterable[Element]:
    """A band, or a bar at each point."""
    if not line.low:
        return
    low, high = place.points(line.xs, line.low), place.points(line.xs, line.high)
    if line.kind == "points":
        yield stroke([pair for pair in zip(low, high, strict=True) if pair[0] != pair[1]], "bars")
    else:
        edge = [point for point in (*high, *reversed(low)) if _is_known(point)]
        yield area(edge, "band", opacity=_BAND)


def _dot(place: _Place, dot: Dot) -> Iterable[Element]:
    y = place.y(dot.y)
    if dot.x is None:
        yield text(dot.text, (place.right, y + _DOWN), "muted", anchor="end")
        return
    x = end = place.x(dot.x)
    shapes = [disc((x, y), 3.6, hollow=dot.hollow)]
    if dot.low is not None or dot.high is not None:
        low = place.box.left if dot.low is None else place.x(dot.low)
        end = place.right if dot.high is None else place.x(dot.high)
        lines = [[(low, y), (end, y)]]
        if dot.high is None:
            lines.append([(end - 4.0, y - 3.0), (end, y), (end - 4.0, y + 3.0)])
        shapes.insert(0, stroke(lines, "line", width=1.6))
    yield titled(group(_colour(dot.look), shapes, tip=dot.told), dot.told)
    if dot.text:
        above = dot.high is None and end > x
        yield text(dot.text, (x + 6.0, y - 5.0) if above else (end + 6.0, y + _DOWN), "muted")


def _bars(place: _Place, bars: Bars) -> Iterable[Element]:
    y = place.y(bars.y)
    for name, start, end, told in bars.parts:
        left = place.x(start)
        bar = part(name, (left, y), (place.x(end) - left, 10.0))
        bar.set("data-tip", told)
        yield titled(bar, told)
    if bars.whole is not None:
        x = place.x(bars.whole)
        yield stroke([[(x, y - 7.0), (x, y + 7.0)]], "ink", width=1.4)


def _key(key: Key, placed: tuple[float, float, str]) -> Element:
    """An entry of the legend: a sample and its text."""
    x, y, name = placed
    words = text(name, (x + SAMPLE, y + _DOWN), "ink")
    if key.part:
        return group("key", [part(key.part, (x, y), (16.0, 8.0)), words], row=key.row)
    shapes = [disc((x + 8.0, y), 3.6 if key.points else 2.2, hollow=_is_hollow(key.look))]
    if not key.points:
        shapes.insert(0, stroke([[(x, y), (x + 16.0, y)]], "", width=1.5, dash=_dash(key.look)))
    return group(f"key {_colour(key.look)}", [*shapes, words], row=key.row)


def _colour(look: int) -> str:
    return f"c{look % FEW}"


def _dash(look: int) -> str:
    return DASHES[look // FEW % len(DASHES)]


def _is_hollow(look: int) -> bool:
    """Every other seven lines have hollow markers, the other way round where dashes repeat."""
    return (look // FEW + look // (FEW * len(DASHES))) % 2 == 1


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
