"""Pictures as SVG text for a page, which colours them by classes."""

from __future__ import annotations

import html
from collections.abc import Iterable

from mnistbench.output.charts.layout import SMALL
from mnistbench.output.charts.painting import painted
from mnistbench.output.charts.picture import Picture
from mnistbench.output.charts.shapes import Copy, Disc, Group, Path, Shape, Words
from mnistbench.schema.escaping import printable

__all__ = ["PAGE_WIDTH", "svg_text"]

PAGE_WIDTH = 420.0
"""The width at which letters are as large as those of a page's captions."""


def svg_text(picture: Picture, width: float = PAGE_WIDTH) -> str:
    """`picture` as an SVG element without styles and scripts, the same text each time.

    Marks of a row stand in a group that names it in `data-row`. A line's numbers are in `data-x`,
    `data-y`, `data-low` and `data-high` of its group, a panel's place and scales in `data-box`,
    `data-x` and `data-y` of the panel, so that a script can read and redraw them.
    """
    height, shapes = painted(picture, width)
    return (
        f'<svg class="chart" viewBox="0 0 {_n(width)} {_n(height)}" role="img"'
        f' aria-label="{_safe(picture.alt)}" font-size="{SMALL:g}">{_all(shapes)}</svg>'
    )


def _all(shapes: Iterable[Shape]) -> str:
    return "".join(map(_shape, shapes))


def _shape(shape: Shape) -> str:
    match shape:
        case Path():
            return _path(shape)
        case Disc(at=(x, y), radius=radius, hollow=hollow):
            paint = 'none" stroke="currentColor' if hollow else "currentColor"
            return f'<circle class="mark" cx="{_n(x)}" cy="{_n(y)}" r="{radius:g}" fill="{paint}"/>'
        case Words(at=(x, y)):
            anchor = f' text-anchor="{shape.anchor}"' if shape.anchor != "start" else ""
            value = "" if shape.value is None else f' data-v="{shape.value:.10g}"'
            where = f'x="{_n(x)}" y="{_n(y)}"{anchor}{value}'
            return f"<text{_class(shape.kind, shape.colour)} {where}>{_safe(shape.text)}</text>"
        case Group():
            data = "".join(f' data-{key}="{_safe(value)}"' for key, value in shape.data.items())
            name = f' id="{_safe(shape.name)}"' if shape.name else ""
            kind = _class(shape.kind, shape.colour)
            return f"<g{kind}{name}{data}>{_title(shape.title)}{_all(shape.shapes)}</g>"
        case Copy(group=group, moved=(x, y)):
            return f'<use href="#{_safe(group.name)}" x="{_n(x)}" y="{_n(y)}"/>'


def _path(path: Path) -> str:
    d = "".join(_line(line) for line in path.lines)
    if not d:
        return ""
    kind = _class(path.kind, path.colour)
    if path.fill:
        opacity = f' fill-opacity="{path.fill:g}"' if path.fill < 1 else ""
        area = f'<path{kind} d="{d}z" fill="currentColor"{opacity}'
        told = _safe(path.told)
        return area + (f' data-tip="{told}"><title>{told}</title></path>' if told else "/>")
    dash = f' stroke-dasharray="{path.dash}"' if path.dash else ""
    width = f' stroke-width="{path.width:g}"' if path.width != 1 else ""
    return f'<path{kind} d="{d}" fill="none" stroke="currentColor"{width}{dash}/>'


def _line(points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points)


def _class(kind: str, colour: str) -> str:
    names = " ".join(filter(None, (kind, colour)))
    return f' class="{names}"' if names else ""


def _title(text: str) -> str:
    return f"<title>{_safe(text)}</title>" if text else ""


def _safe(text: str) -> str:
    return html.escape(printable(text))


def _n(value: float) -> str:
    """A length to a tenth."""
    return f"{value:.1f}".removesuffix(".0")
