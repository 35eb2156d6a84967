"""How the ten digits are written, and the pen that writes them as maps of distances.

The table was drawn by hand for this project. A glyph is one digit in one handwriting style: a tuple
of strokes, each a string of points ``x,y`` that the pen passes through, on a sheet 100 wide and 100
high with y downwards. The path between points is smooth; a point given twice in a row is a corner,
and a stroke that ends where it began is a closed loop. Equal points of a glyph move together.

The pen uses elementwise IEEE arithmetic alone, so its maps are the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Point: TypeAlias = tuple[int, int]
"""Place (x, y) on the sheet, in hundredths of the glyph's box."""

Glyph: TypeAlias = tuple[str, ...]
"""The strokes of one digit in one style."""

_Floats: TypeAlias = npt.NDArray[np.float32]

GLYPHS: tuple[tuple[Glyph, ...], ...] = (
    (  # 0
        ("50,0 24,14 14,50 24,86 50,100 76,86 86,50 76,14 50,0",),
        ("62,4 36,10 18,46 26,86 48,100 74,82 82,44 70,10 48,2",),
        ("44,6 22,32 20,72 42,98 70,86 82,52 74,16 50,0 34,10",),
        ("52,2 32,16 24,48 28,80 50,98 70,84 78,52 72,18 52,2",),
    ),
    (  # 1
        ("50,0 50,50 50,100",),
        ("62,0 52,50 40,100",),
        ("28,22 54,0 54,0 52,50 50,100",),
        ("30,20 52,0 52,0 52,50 52,100", "28,100 52,100 76,99"),
    ),
    (  # 2
        ("14,24 28,4 58,0 80,18 74,42 46,70 12,98 12,98 50,97 88,96",),
        ("16,20 34,2 64,4 78,26 64,56 38,84 16,94 14,80 34,78 58,92 90,90",),
        ("14,10 50,2 80,12 74,40 44,70 14,100 14,100 86,100",),
        ("20,30 40,4 70,8 74,36 50,66 16,88 30,82 60,96 88,84",),
    ),
    (  # 3
        ("16,12 44,0 74,12 70,36 40,48 40,48 76,58 84,80 56,100 14,90",),
        ("18,16 42,2 70,10 68,34 46,46 66,56 80,76 60,98 20,94",),
        ("16,4 48,3 80,4 80,4 46,42 46,42 78,58 78,86 46,100 14,88",),
        ("22,8 56,0 78,20 58,42 36,46 36,50 64,54 74,78 48,98 18,84",),
    ),
    (  # 4
        ("30,2 22,30 14,58 14,58 50,56 90,52", "72,8 68,54 64,100"),
        ("66,0 38,34 10,66 10,66 50,66 90,65", "66,0 66,50 66,100"),
        ("18,6 14,36 30,54 56,50 76,36", "80,2 76,36 72,100"),
        ("64,2 36,30 16,56 16,56 50,60 72,54", "74,14 70,60 60,100"),
    ),
    (  # 5
        ("84,2 54,3 26,4 26,4 22,44 22,44 50,38 78,52 80,78 50,100 12,88",),
        ("80,4 46,4 24,20 32,42 66,54 80,76 58,98 14,92",),
        ("30,6 24,42 24,42 56,40 78,62 68,90 38,100 12,84", "30,6 58,6 88,0"),
        ("70,0 40,4 40,4 28,38 28,38 58,48 70,72 48,96 16,96",),
    ),
    (  # 6
        ("72,2 38,20 16,56 20,86 48,100 78,86 76,60 48,52 20,70",),
        ("60,0 34,34 18,72 36,98 70,94 76,68 50,56 24,72",),
        ("78,8 48,4 22,36 16,74 42,100 72,86 70,62 42,60 18,80",),
        ("50,0 26,40 20,80 44,98 66,84 58,66 34,70 22,84",),
    ),
    (  # 7
        ("12,4 50,4 86,4 86,4 62,50 44,100",),
        ("14,6 50,4 84,2 84,2 60,50 40,100", "34,52 58,50 80,48"),
        ("16,22 18,6 18,6 52,8 84,4 84,4 62,40 54,100",),
        ("14,14 40,2 70,4 80,20 62,58 52,100",),
    ),
    (  # 8
        ("76,18 52,0 26,14 30,36 52,50 76,68 74,92 48,100 22,88 26,66 50,50 72,34 76,18",),
        ("50,0 30,10 30,34 50,46 70,34 70,10 50,0", "50,46 24,60 24,88 50,100 76,88 76,60 50,46"),
        ("82,8 54,0 28,16 38,40 66,64 70,90 42,100 22,84 38,60 68,36 82,8",),
        ("70,6 42,4 30,26 54,48 72,72 56,98 30,90 34,62 60,38 76,14",),
    ),
    (  # 9
        ("80,24 58,2 26,10 18,36 42,52 70,40 80,24 80,24 78,60 74,100",),
        ("78,20 52,0 24,18 26,44 54,50 78,20 78,20 80,62 58,94 24,94",),
        ("74,10 40,4 20,30 40,50 72,36 74,10 74,10 64,54 46,100",),
        ("68,12 44,4 28,24 44,44 66,32 68,12 68,12 70,56 70,100",),
    ),
)
"""Styles of each digit: ``GLYPHS[digit][style]``."""

CELLS_PER_PX = 3
"""Cells of a map along one pixel of an image."""

SHEET_CELLS = 84
"""Side of a map: 28 pixels, of which the glyph's box takes about 17 by 20 in the middle [cells]."""

LEVELS_PER_PX = 60
"""Steps of a map's distances [1/pixel]."""

_BOX_MIDDLE = np.array([50, 50], np.float32)
_CELLS_PER_UNIT = np.array([0.51, 0.6], np.float32)
_REACH_CELLS = 12
_SEGMENTS_PER_SPAN = 4


def glyph_points(glyph: Glyph) -> tuple[Point, ...]:
    """The distinct points of `glyph`, in the order of their first mention."""
    return tuple(dict.fromkeys(point for stroke in glyph for point in _points(stroke)))


def write(glyph: Glyph, offsets: _Floats) -> npt.NDArray[np.uint8]:
    """Write `glyph` once for each set of offsets.

    Args:
        glyph: one style of one digit.
        offsets: float32 [V, P, 2], moves (x, y) of each of the P `glyph_points`, in hundredths of
            the glyph's box.

    Returns:
        uint8 [V, SHEET_CELLS, SHEET_CELLS]: distance of each cell to the nearest stroke, in
        1/LEVELS_PER_PX pixels; 240 stands for four pixels and more.
    """
    points = glyph_points(glyph)
    sheet: _Floats = (offsets + (np.array(points, np.float32) - _BOX_MIDDLE)) * _CELLS_PER_UNIT
    sheet += (SHEET_CELLS - 1) / 2
    places = {point: sheet[:, k] for k, point in enumerate(points)}
    squares = np.full((len(offsets), SHEET_CELLS, SHEET_CELLS), _REACH_CELLS**2, np.float32)
    for stroke in glyph:
        for start, end in pairwise(_path(_points(stroke), places)):
            _draw_line(squares, start, end)
    return (np.sqrt(squares) * (LEVELS_PER_PX / CELLS_PER_PX)).astype(np.uint8)


def _points(stroke: str) -> list[Point]:
    pairs = (point.split(",") for point in stroke.split())
    return [(int(x), int(y)) for x, y in pairs]


def _path(stroke: list[Point], places: Mapping[Point, _Floats]) -> list[_Floats]:
    """Corners [V, 2] of the lines along a Catmull-Rom spline through the stroke's points.

    A doubled point makes that spline a corner there, and its empty span is left out.
    """
    is_loop = len(stroke) > 2 and stroke[0] == stroke[-1]
    before, after = (stroke[-2], stroke[1]) if is_loop else (stroke[0], stroke[-1])
    knots = [before, *stroke, after]
    path = [places[stroke[0]]]
    for k in range(1, len(stroke)):
        if knots[k] == knots[k + 1]:
            continue
        a, b, c, d = (places[knot] for knot in knots[k - 1 : k + 3])
        for step in range(1, _SEGMENTS_PER_SPAN + 1):
            t = step / _SEGMENTS_PER_SPAN
            near = a * (t * (2 * t - 1 - t * t) / 2) + b * ((2 - 5 * t * t + 3 * t * t * t) / 2)
            far = c * (t * (1 + 4 * t - 3 * t * t) / 2) + d * ((t * t * t - t * t) / 2)
            path.append(near + far)
    return path


def _draw_line(squares: _Floats, start: _Floats, end: _Floats) -> None:
    """Lower squared distances [V, side, side] to those from the line between two places [V, 2]."""
    low = np.maximum(np.minimum(start, end).min(axis=0) - _REACH_CELLS, 0)
    high = np.minimum(np.maximum(start, end).max(axis=0) + _REACH_CELLS + 1, SHEET_CELLS)
    left, top = (int(edge) for edge in low)
    right, bottom = (int(edge) for edge in high)
    step = end - start
    length = np.sqrt(step[:, :1] * step[:, :1] + step[:, 1:] * step[:, 1:]) + 0.001
    unit = step / length
    x = np.arange(left, right, dtype=np.float32) - start[:, :1]
    y = np.arange(top, bottom, dtype=np.float32) - start[:, 1:]
    along = (x * unit[:, :1])[:, None, :] + (y * unit[:, 1:])[:, :, None]
    across = (x * unit[:, 1:])[:, None, :] - (y * unit[:, :1])[:, :, None]
    beyond = along - np.minimum(np.maximum(along, 0), length[:, :, None])
    nearby = squares[:, top:bottom, left:right]
    np.minimum(nearby, across * across + beyond * beyond, out=nearby)
