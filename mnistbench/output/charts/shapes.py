"""The SVG elements that pictures are made of; colours are classes, which a page or file knows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias
from xml.etree.ElementTree import Element
from zlib import crc32

from mnistbench.schema.escaping import printable

Point: TypeAlias = tuple[float, float]
"""From the left and from the top."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#111111")
"""Okabe and Ito's colours (2008), told apart by colour-blind readers; the last is nearly black."""

FEW = len(COLOURS)
"""Lines that are told apart by their colour alone."""

DASHES = ("", "4 2", "1.2 1.8", "5 1.8 1.2 1.8")
"""Strokes and gaps: of the first seven lines, of the next seven, and so on."""

_BLUE, _RED, _GREEN, _PINK, _ORANGE, _SKY, _BLACK = range(FEW)
_PARTS: Mapping[str, tuple[int | None, float]] = {
    "import": (_SKY, 1.0),
    "startup": (_SKY, 0.5),
    "data": (_PINK, 1.0),
    "build": (_PINK, 0.5),
    "compile": (_GREEN, 1.0),
    "train": (_BLUE, 1.0),
    "data_wait": (_BLUE, 0.5),
    "eval": (_ORANGE, 1.0),
    "checkpoint": (_RED, 1.0),
    "profile": (_BLACK, 1.0),
    "arithmetic": (_BLUE, 1.0),
    "memory traffic": (_SKY, 1.0),
    "calls": (_ORANGE, 1.0),
    "loader": (_PINK, 1.0),
    "communication": (_GREEN, 1.0),
    "other": (None, 1.0),
}
"""Colour and opacity of each part of a bar, the same in every picture; without a number pale.

Parts that a user named have a colour by their name.
"""


def group(kind: str, shapes: Iterable[Element], *, row: str = "", **data: str) -> Element:
    """A group of `shapes`, with the `row` and the `data` that scripts are told."""
    told = {"row": row} if row else {}
    found = _element("g", kind, **{f"data-{key}": value for key, value in (told | data).items()})
    found.extend(shapes)
    return found


def stroke(
    lines: Sequence[Sequence[Point]], kind: str, *, width: float = 1.0, dash: str = ""
) -> Element:
    """Lines through points."""
    found = _element("path", kind, d=_path(lines), fill="none", stroke="currentColor")
    if width != 1:
        found.set("stroke-width", f"{width:g}")
    if dash:
        found.set("stroke-dasharray", dash)
    return found


def area(edge: Sequence[Point], kind: str, *, opacity: float = 1.0) -> Element:
    """What is within an `edge`."""
    path = f"{_path([edge])}z" if edge else ""
    found = _element("path", kind, d=path, fill="currentColor")
    if opacity < 1:
        found.set("fill-opacity", f"{opacity:g}")
    return found


def disc(at: Point, radius: float, *, hollow: bool = False) -> Element:
    """A marker."""
    where = {"cx": length(at[0]), "cy": length(at[1]), "r": f"{radius:g}"}
    if hollow:
        return _element("circle", "mark", **where, fill="none", stroke="currentColor")
    return _element("circle", "mark", **where, fill="currentColor")


def text(
    words: str, at: Point, kind: str, *, anchor: str = "", value: float | None = None
) -> Element:
    """A line of text, whose `anchor` on the base line is `at`; `value` is the number of a tick."""
    found = _element("text", kind, x=length(at[0]), y=length(at[1]))
    found.text = printable(words)
    if anchor:
        found.set("text-anchor", anchor)
    if value is not None:
        found.set("data-v", f"{value:.10g}")
    return found


def part(name: str, at: Point, size: Point) -> Element:
    """A rectangle in the colour of a part of a bar; `at` is the middle of its left side."""
    colour, opacity = _PARTS.get(name, (crc32(name.encode()) % FEW, 0.75))
    (left, middle), (width, height) = at, size
    top, bottom, right = middle - height / 2, middle + height / 2, left + width
    edge = [(left, top), (right, top), (right, bottom), (left, bottom)]
    colour_class = "pale" if colour is None else f"c{colour}"
    kind = f"part p-{re.sub(r'[^a-z0-9]+', '-', name.lower())} {colour_class}"
    return area(edge, kind, opacity=opacity)


def titled(element: Element, words: str) -> Element:
    """`element`, which says `words` to those who point at it; also without a script."""
    if words:
        title = Element("title")
        title.text = printable(words)
        element.insert(0, title)
    return element


def length(value: float) -> str:
    """A length to a tenth."""
    return f"{value:.1f}".removesuffix(".0")


def _element(tag: str, kind: str, **attributes: str) -> Element:
    found = Element(tag, {"class": kind} if kind else {})
    found.attrib |= {key.replace("_", "-"): printable(value) for key, value in attributes.items()}
    return found


def _path(lines: Sequence[Sequence[Point]]) -> str:
    return "".join(
        "M" + "L".join(f"{length(x)} {length(y)}" for x, y in line) for line in lines if line
    )
