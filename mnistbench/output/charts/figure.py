"""Pictures drawn by matplotlib, for files: the same shapes as on a page, at a paper's width."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from mnistbench.output.charts.layout import SMALL
from mnistbench.output.charts.looks import COLOURS
from mnistbench.output.charts.painting import painted
from mnistbench.output.charts.picture import Picture
from mnistbench.output.charts.shapes import Copy, Disc, Group, Path, Shape, Words
from mnistbench.output.charts.style import plain_matplotlib, saved
from mnistbench.schema.escaping import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

__all__ = ["COLUMN_WIDTH", "drawn", "figure_of"]

COLUMN_WIDTH = 340.0
"""A column of a paper in two columns, in hundredths of an inch."""

_PNG_DPI = 300
_POINTS = 0.72
"""Points of a hundredth of an inch."""

_PAINT: Mapping[str, str] = {f"c{index}": colour for index, colour in enumerate(COLOURS)} | {
    "ink": "#1b1f24",
    "muted": "#57606a",
    "pale": "#bcc4cd",
    "grid": "#d8dee4",
}
_ANCHORS: Mapping[str, Literal["left", "center", "right"]] = {
    "start": "left",
    "middle": "center",
    "end": "right",
}


def drawn(picture: Picture, kind: Literal["svg", "png"]) -> bytes:
    """`picture` as a file of `kind`, the same bytes each time; PNG has 300 dots per inch."""
    with plain_matplotlib():
        content = saved(figure_of(picture), kind, dpi=_PNG_DPI)
    return _rounded(content) if kind == "svg" else content


def figure_of(picture: Picture, width: float = COLUMN_WIDTH) -> Figure:
    """`picture` as a figure of `width` hundredths of an inch."""
    from matplotlib.figure import Figure

    height, shapes = painted(picture, width)
    figure = Figure(figsize=(width / 100, height / 100))
    axes = figure.add_axes((0, 0, 1, 1), frameon=False, xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    _draw(axes, shapes, "ink", axes.transData)
    return figure


def _draw(axes: Axes, shapes: Iterable[Shape], colour: str, at: Transform) -> None:
    """`shapes` in `colour`, where they have no other, moved by `at`."""
    from matplotlib.transforms import Affine2D

    for shape in shapes:
        if isinstance(shape, Group):
            _draw(axes, shape.shapes, shape.colour or colour, at)
        elif isinstance(shape, Copy):
            _draw(axes, [shape.group], colour, Affine2D().translate(*shape.moved) + at)
        elif isinstance(shape, Words):
            _write(axes, shape, _PAINT[shape.colour or colour], at)
        else:
            _fill(axes, shape, _PAINT[getattr(shape, "colour", "") or colour], at)


def _fill(axes: Axes, shape: Path | Disc, colour: str, at: Transform) -> None:
    """A line or an area."""
    from matplotlib import patches
    from matplotlib.path import Path as Outline

    if isinstance(shape, Disc):
        face = "none" if shape.hollow else colour
        patch: patches.Patch = patches.Circle(shape.at, shape.radius, fc=face, ec=colour, lw=0.8)
    elif not shape.lines:
        return
    else:
        outline = Outline.make_compound_path(*map(Outline, shape.lines))
        line = _POINTS * shape.width
        dashes = (0, [float(x) / shape.width for x in shape.dash.split()])
        patch = patches.PathPatch(
            outline,
            fc=colour if shape.fill else "none",
            ec="none" if shape.fill else colour,
            alpha=shape.fill or None,
            lw=line,
            ls=dashes if shape.dash else "-",
            joinstyle="round",
        )
    patch.set_transform(at)
    patch.set_clip_on(False)
    axes.add_artist(patch)


def _write(axes: Axes, words: Words, colour: str, at: Transform) -> None:
    axes.text(
        *words.at,
        printable(words.text),
        color=colour,
        fontsize=SMALL * _POINTS,
        ha=_ANCHORS[words.anchor],
        va="baseline",
        transform=at,
    )


def _rounded(svg: bytes) -> bytes:
    """`svg` with its paths to a hundredth of a point, which is a third smaller."""
    return re.sub(rb'(?<= d=")[^"]+', lambda path: re.sub(rb"(\.\d\d)\d+", rb"\1", path[0]), svg)
