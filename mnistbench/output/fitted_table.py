"""Tables and sentences as wide as where they are read.

What all rows share stands once above a table. Where its columns are too many for a line, the least
important are left out, which a line below says.
"""

from __future__ import annotations

import io
import math
import os
import re
import shutil
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, TextIO

from rich.cells import cell_len
from tabulate import tabulate

from mnistbench.analysis.number_text import NOT_MEASURED
from mnistbench.schema.escaping import brief, printable

__all__ = [
    "LONGEST",
    "WIDE",
    "Fitted",
    "Rows",
    "Screen",
    "harmless",
    "is_figure",
    "plain_table",
    "split_shared",
    "unexpected",
]

Rows = Sequence[Mapping[str, str]]

LONGEST = 300
"""Letters of a cell: nobody reads on, and a terminal would be full of it."""

_EXPECTED = {"reference": NOT_MEASURED, "n": "1", "status": "completed"}
"""Columns that are left out where every row says the same, expected thing."""

_NAMES = ("recipe", "model", "loss")
_SETTINGS = (
    *("dataset", "target", "device", "batch", "precision", "loop", "epochs", "reference"),
    *("n", "status"),
)
_TEXTS = frozenset(
    {"found", "claims", "source", "remark", "why no more", "differs in", "verdict"}
    | {"B against A (95 % interval)"}
)
"""Columns of sentences, which may take several lines."""

_HEADS, _LONG_TEXTS = "heads", "texts"  # in several lines
_LONG_NAMES, _SPREADS = "parts of long names", "spreads and counts"
_LEAST_FIRST = (
    *("more needed", "git_diff_sha256", "git_dirty", "code_sha256", "data sha256", "launcher"),
    *("reference", "start s", "aggregate", "clock", "source", "one process", "step ms", "wait"),
    *("loop", "epochs", "precision", "batch", "device", "wall s", "MiB", "GFLOP"),
    *(_HEADS, _LONG_NAMES, "slowest process", "communication", "compute", "dataset"),
    *("test acc %", "expected s", "steps", "× steps", "p", "n", _LONG_TEXTS, _SPREADS),
)
"""What a narrow terminal does without, the first of it first."""

_STEPS = frozenset({_HEADS, _LONG_TEXTS, _LONG_NAMES, _SPREADS})
_GAP = 2
_NARROWEST = 20
_SHORTEST = 16
_SPREAD = re.compile(r" (± [\d.,]+|\([\d.,]*–[\d.,∞]*\))|, \d+ of \d+")
_FIGURE = re.compile(
    r"(≤ )?[-+]?\d[\d,.]*(e[-+]\d+)?%?"
    r"( ± [\d.,]+| of \d+| \([\d,.]*–[\d,.∞]*\))?(, \d+ of \d+)?( \(n = \d+\)| reached)?[†‡§]*$"
    r"|not reached$"
)
"""A number with its spread, and of how many runs where these are fewer than a row's."""


def is_figure(cell: str) -> bool:
    """Whether `cell` is a number, with its spread and count or without, or a dash for none."""
    return cell == NOT_MEASURED or _FIGURE.match(cell) is not None


def harmless(rows: Rows, longest: int = LONGEST) -> list[dict[str, str]]:
    """`rows` as a terminal may be given them, their cells cut off after `longest` letters."""
    return [{printable(k): brief(v, longest) for k, v in row.items()} for row in rows]


def unexpected(rows: Rows) -> list[dict[str, str]]:
    """`rows` without the columns that say the same, expected thing of each."""
    gone = {k for k, text in _EXPECTED.items() if all(row.get(k, text) == text for row in rows)}
    return [_but(row, gone) for row in rows]


def split_shared(rows: Rows) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The settings that all `rows` share, and the rows without these and without empty columns.

    A single row keeps its name.
    """
    rows = unexpected(rows)
    first = rows[0]
    same = [k for k in first if all(row[k] == first[k] for row in rows)]
    named = _NAMES if len(rows) > 1 else ()
    gone = {k for k in same if first[k] == NOT_MEASURED or k in {*named, *_SETTINGS}}
    told = {k: first[k] for k in same if k in gone and first[k] != NOT_MEASURED}
    return (told, [_but(row, gone) for row in rows]) if gone < first.keys() else ({}, rows)


class Fitted(NamedTuple):
    """A table of some width.

    Attributes:
        above: what all rows share; empty if nothing.
        rows: column -> text; none where `lines` are the table.
        below: what is left out; empty if nothing.
        lines: the table where each row takes several.
    """

    above: str
    rows: list[dict[str, str]]
    below: str = ""
    lines: Sequence[str] = ()


class Screen(NamedTuple):
    """Where text is read.

    Attributes:
        width: letters in a line; if infinite, tables have all columns.
        styled: it is a terminal that shows bold letters.
    """

    width: float = math.inf
    styled: bool = False

    @classmethod
    def of(cls, stream: TextIO, *, wide: bool = False) -> Screen:
        """What `stream` is: as wide as ``COLUMNS`` says, or its terminal; 80 where it is none."""
        styled = stream.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}
        columns = max(_NARROWEST, shutil.get_terminal_size().columns)
        return cls(math.inf if wide else columns, styled)

    def text(self, sentence: str) -> str:
        """`sentence` made harmless, in lines of this width."""
        return _wrapped(printable(sentence), self.width, indent="  ")

    def table(self, rows: Rows, *, names: Collection[str] = (), longest: int = LONGEST) -> str:
        """`rows` (column -> text) with what they share above and what is left out below.

        Args:
            names: columns that tell rows apart, beside those of settings.
            longest: letters at which a cell ends.
        """
        fitted = self.fit(rows, names=names, longest=longest)
        drawn = (_by_rich if self.styled else plain_table)(fitted.rows) if fitted.rows else ""
        table = drawn or "\n".join(fitted.lines)
        return "\n".join(filter(None, (fitted.above, table, fitted.below)))

    def fit(self, rows: Rows, *, names: Collection[str] = (), longest: int = LONGEST) -> Fitted:
        """The parts of `table` before they are drawn."""
        rows = harmless(rows, longest)
        if math.isinf(self.width) or not rows:
            return Fitted("", unexpected(rows))
        shared, rows = split_shared(rows)
        said = ", ".join(f"{name} {text}" for name, text in shared.items())
        above = self.text(f"{'all rows' if len(rows) > 1 else 'settings'}: {said}") if said else ""
        columns = _Columns(rows, width=int(self.width), names={*names, *_NAMES, *_SETTINGS})
        without = columns.left_out()
        if without is None:
            return Fitted(above, [], lines=_in_blocks(rows, int(self.width)))
        told = [name for name in without if name not in {_HEADS, _LONG_TEXTS}]
        which = f"left out for {self.width:.0f} columns: {', '.join(told)}; --wide shows them"
        return Fitted(above, columns.shown(without), self.text(which) if told else "")


WIDE = Screen()
"""All columns, and plain letters."""


class _Span(NamedTuple):
    """Letters of a column: its head, the longest word of that, its cells, these without spreads.

    Of names and sentences, `shrinks` says which of the steps makes them shorter.
    """

    head: int
    word: int
    cells: int
    bare: int
    shrinks: str

    @classmethod
    def of(cls, name: str, cells: Sequence[str], *, is_name: bool) -> _Span:
        shrinks = _LONG_TEXTS if name in _TEXTS else ""
        if is_name and len({_shortened(cell, _SHORTEST) for cell in cells}) == len({*cells}):
            shrinks = _LONG_NAMES
        words = max(map(cell_len, name.split()), default=0)
        longest, bare = (max(map(cell_len, texts)) for texts in (cells, map(_bare, cells)))
        return cls(cell_len(name), words, longest, bare, shrinks)

    def letters(self, without: Collection[str]) -> int:
        cells = self.bare if _SPREADS in without else self.cells
        if self.shrinks in without:
            cells = min(cells, _SHORTEST)
        return max(self.word if _HEADS in without else self.head, cells)

    def cell(self, text: str, width: int, without: Collection[str]) -> str:
        text = _bare(text) if _SPREADS in without else text
        if self.shrinks not in without:
            return text
        return (_wrapped if self.shrinks == _LONG_TEXTS else _shortened)(text, width)


class _Columns:
    """The columns of `rows`, of which some may be left out for `width` letters a line."""

    def __init__(self, rows: Rows, *, width: int, names: Collection[str]) -> None:
        self._rows, self._width = rows, width
        self._names = [name for name in rows[0] if name in names]
        self._spans = {
            k: _Span.of(k, [row[k] for row in rows], is_name=k in names) for k in rows[0]
        }

    def left_out(self) -> list[str] | None:
        """The least that has to be left out, in the order above; ``None`` if all is too little."""
        without: list[str] = []
        for name in _LEAST_FIRST:
            if not self._is_too_wide(without):
                break
            if name in _STEPS or (name in self._spans and self._can_spare(name, without)):
                without.append(name)
        if self._is_too_wide(without):
            return None
        for name in reversed(without.copy()):
            rest = [other for other in without if other != name]
            without = without if self._is_too_wide(rest) else rest
        return without

    def shown(self, without: Collection[str]) -> list[dict[str, str]]:
        """The rows without these; what shrinks is as long as there is room."""
        spans = {k: span for k, span in self._spans.items() if k not in without}
        widths = {k: span.letters(without) for k, span in spans.items()}
        for name, span in spans.items():
            room = self._width - sum(widths.values()) - _GAP * (len(widths) - 1)
            widths[name] = min(widths[name] + room, span.letters({*without} - {span.shrinks}))
        heads = {k: _wrapped(k, widths[k]) if _HEADS in without else k for k in spans}
        return [
            {heads[k]: span.cell(row[k], widths[k], without) for k, span in spans.items()}
            for row in self._rows
        ]

    def _is_too_wide(self, without: Collection[str]) -> bool:
        letters = [_GAP + s.letters(without) for k, s in self._spans.items() if k not in without]
        return sum(letters) - _GAP > self._width

    def _can_spare(self, name: str, without: Collection[str]) -> bool:
        """Whether rows are told apart by their names without it, and there is more than it."""
        if len(self._spans.keys() - {*without}) == 1:
            return False
        before = [k for k in self._names if k not in without]
        after = [k for k in before if k != name]
        return after == before or self._told_apart(before) == self._told_apart(after)

    def _told_apart(self, names: Sequence[str]) -> int:
        return len({tuple(row[k] for k in names) for row in self._rows})


def plain_table(rows: Rows) -> str:
    """`rows` as they are, with figures at the right of their columns."""
    sides = ["right" if right else "left" for right in _at_right(rows)]
    return tabulate(
        rows, headers="keys", tablefmt="simple", disable_numparse=True, colalign=sides or None
    )


def _by_rich(rows: Rows) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for name, right in zip(rows[0], _at_right(rows), strict=True):
        table.add_column(Text(name), justify="right" if right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(c, style="dim" * (c == NOT_MEASURED)) for c in row.values()))
    out = io.StringIO()
    Console(file=out, width=LONGEST * len(rows[0]), force_terminal=True).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _at_right(rows: Rows) -> list[bool]:
    return [all(is_figure(row[k]) for row in rows) for k in (rows[0] if rows else ())]


def _in_blocks(rows: Rows, width: int) -> list[str]:
    """The table on its side, as many rows beside each other as `width` has room for."""
    names = list(rows[0])
    room = width - max(map(cell_len, names)) - _GAP
    longest = max(cell_len(cell) for row in rows for cell in row.values())
    beside = max(1, (room + _GAP) // (longest + _GAP))
    lines: list[str] = []
    for start in range(0, len(rows), beside):
        block = rows[start : start + beside]
        cells = [[k, *(_wrapped(row[k], max(room, _GAP)) for row in block)] for k in names]
        lines += tabulate(cells, tablefmt="plain", disable_numparse=True).splitlines()
        lines += [""] * (start + beside < len(rows))
    return lines


def _bare(cell: str) -> str:
    return _SPREAD.sub("", cell)


def _shortened(name: str, width: int) -> str:
    """`name` without its middle, if it is longer than `width`."""
    end = (width - 1) // 2
    return name if cell_len(name) <= width else f"{name[: width - 1 - end]}…{name[-end:]}"


def _wrapped(text: str, width: float, *, indent: str = "") -> str:
    """`text` in lines of `width` letters; words, such as paths, stay whole."""
    if len(text) <= width:
        return text
    return textwrap.fill(
        text,
        int(width),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _but(row: Mapping[str, str], gone: Collection[str]) -> dict[str, str]:
    return {k: v for k, v in row.items() if k not in gone}
