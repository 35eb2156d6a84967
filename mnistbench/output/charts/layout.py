"""Where the parts of a picture stand, at any width: both ways of drawing go by it.

Lengths are in units of a hundredth of an inch on paper, and of a pixel, or so, on a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len

from mnistbench.output.charts.picture import Key, Line, Picture

SMALL = 9.8
"""Height of letters, which is 7 points on paper."""

TITLE_LINE = 11.5
"""From a line of a title to the next."""

SAMPLE = 22.0
"""Width of what stands before the text of a legend."""

_LINE = 13.0
_GAP = 5.0
_TICKS = 14.0
_ROW = 20.0
_TALL_ROW = 31.0
_BESIDE = 0.45
_PLOT = 0.5
_SMALL_PLOT = 0.7
_BETWEEN = 8.0
_RIGHT = 8.0
_TITLE_LINES = 3
_BEGINNING = 3  # of what is kept of a long name, one part of so many is its beginning
_NARROW = frozenset("iljtfrI.,:;|!'()[] ")
_LEAST_LETTER = 0.36 * SMALL
_WIDE = frozenset("mwMWGOQ@%—…")


class Box(NamedTuple):
    """A rectangle, from the top left of the picture."""

    left: float
    top: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        """Where it ends below."""
        return self.top + self.height


class Layout(NamedTuple):
    """The size of a picture, the boxes of its panels, and the lines of their titles.

    Where `above` holds, names of rows stand above their rows, not beside. Of each entry of the
    legend `keys` has the left end, the middle of its height, and the text.
    """

    width: float
    height: float
    boxes: list[Box]
    titles: list[list[str]]
    above: bool
    keys: list[tuple[float, float, str]]

    @property
    def bottom(self) -> float:
        """Of all panels; the label of the x axis is below it."""
        return max(box.bottom for box in self.boxes)


def text_width(text: str) -> float:
    """The width of `text`, near enough for fonts without serifs, and rather too wide."""
    letters = (0.36 if c in _NARROW else 0.9 if c in _WIDE else 0.62 * cell_len(c) for c in text)
    return SMALL * sum(letters)


def shortened(text: str, width: float) -> str:
    """`text`, without its middle where it would be wider than `width`; names differ at the end."""
    kept, found = min(len(text), int(width / _LEAST_LETTER)), text
    while kept and text_width(found) > width:
        kept -= 1
        begins = kept // _BEGINNING
        found = f"{text[:begins].rstrip(' ,')}…{text[len(text) - kept + begins :]}"
    return found


def laid_out(picture: Picture, width: float) -> Layout:
    """`picture` at this `width`."""
    marks = (mark for panel in picture.panels for mark in panel.marks)
    labels = [mark.label for mark in marks if not isinstance(mark, Line)]
    widest = max(map(text_width, labels), default=0.0)
    above = widest > _BESIDE * width
    titles: list[list[str]] = [[]]
    if labels:
        left, row = (4.0, _TALL_ROW) if above else (widest + _GAP + 2, _ROW)
        boxes = [Box(left, 4.0, width - left - _RIGHT, row * len(labels))]
    else:
        boxes, titles = _grid(picture, width)
    label = _LINE + 3 if picture.panels[0].x.label else 0
    top = max(box.bottom for box in boxes) + _TICKS + label + _GAP
    keys, height = _keys(picture.keys, width, top)
    return Layout(width, height, boxes, titles, above, keys)


def _grid(picture: Picture, width: float) -> tuple[list[Box], list[list[str]]]:
    """Panels below their titles, and these; a label of its y axis is above a column of panels."""
    panels, columns = picture.panels, picture.columns
    left = max(text_width(text) for panel in panels for _, text in panel.y.ticks) + _GAP + 2
    across = (width - left - _RIGHT - _BETWEEN * (columns - 1)) / columns
    down = (_PLOT if columns == 1 else _SMALL_PLOT) * across
    titles = [_broken(panel.title, across) for panel in panels]
    title = max(map(len, titles)) * TITLE_LINE + 6.0
    label = _LINE + 4.0 if panels[0].y.label else 0.0
    row = title + down + (label if columns == 1 else 0.0) + _BETWEEN
    places = (divmod(index, columns) for index in range(len(panels)))
    boxes = [
        Box(left + x * (across + _BETWEEN), label + title + y * row, across, down)
        for y, x in places
    ]
    return boxes, titles


def _broken(title: str, width: float) -> list[str]:
    """`title` in up to three lines, broken after commas."""
    lines: list[str] = []
    for part in filter(None, title.split(", ")):
        longer = f"{lines[-1]}, {part}" if lines else part
        if lines and (len(lines) == _TITLE_LINES or text_width(longer) <= width):
            lines[-1] = longer
        else:
            lines.append(part)
    return [shortened(line, width) for line in lines]


def _keys(
    keys: Sequence[Key], width: float, top: float
) -> tuple[list[tuple[float, float, str]], float]:
    """Where the `keys` stand, in as many columns as their texts allow, and where they end."""
    if not keys:
        return [], top
    room = width - SAMPLE - _GAP
    texts = [shortened(key.text, room) for key in keys]
    each = SAMPLE + _GAP + max(map(text_width, texts)) + _GAP
    columns = max(1, min(len(keys), int(width // each)))
    placed = [
        (4.0 + index % columns * each, top + (index // columns + 0.5) * _LINE, text)
        for index, text in enumerate(texts)
    ]
    return placed, top + -(-len(keys) // columns) * _LINE + _GAP
