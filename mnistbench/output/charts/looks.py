"""How marks look on a page and in a file: colours and dashes, by number."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["COLOURS", "DASHES", "FEW", "PARTS"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#111111")
"""Okabe and Ito's colours (2008), told apart by colour-blind readers; the last is nearly black."""

FEW = len(COLOURS)
"""Lines that are told apart by their colour alone."""

DASHES = ("", "4 2", "1.2 1.8", "5 1.8 1.2 1.8")
"""Strokes and gaps: of the first seven lines, of the next seven, and so on."""

_BLUE, _RED, _GREEN, _PINK, _ORANGE, _SKY, _BLACK = range(FEW)
PARTS: Mapping[str, tuple[int | None, float]] = {
    "import": (_SKY, 1.0),
    "startup": (_SKY, 0.5),
    "data": (_PINK, 1.0),
    "build": (_PINK, 0.5),
    "compile": (_GREEN, 1.0),
    "train": (_BLUE, 1.0),
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
"""Colour and opacity of each part of a bar, the same in every picture; without a number pale."""
