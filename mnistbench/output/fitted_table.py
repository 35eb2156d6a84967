"""Which columns of a table fit a line, and what all of its rows share.

The least important columns are left out first, in one order for all tables.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from rich.cells import cell_len

from mnistbench.analysis.number_text import NOT_MEASURED, WALL_NOTE

Rows = Sequence[Mapping[str, str]]

_EXPECTED = {"reference": NOT_MEASURED, "n": "1", "status": "completed"}
"""Columns that are left out where every row says the same, expected thing."""

_NAMES = ("recipe", "run", "workload", "model", "loss")
_SETTINGS = ("dataset", "target", "device", "batch", "precision", "loop")
_SAID_ONCE = (*_SETTINGS, "epochs", "reference", "n", "status")
"""Columns that stand above the table where all rows have the same."""

_TEXTS = frozenset(
    {"found", "claims", "source", "remark", "why no more", "differs in", "verdict", "reference"}
    | {"B against A (95 % interval)", "change (95 % interval)"}
)
"""Columns of sentences, which may take several lines."""

_HEADS, _LONG_TEXTS = "heads", "texts"  # in several lines
_LONG_NAMES, _SPREADS = "parts of long names", "spreads and counts"
_LEAST_FIRST = (
    *("more needed", "git_diff_sha256", "git_dirty", "code_sha256", "data sha256", "launcher"),
    *("start s", "aggregate", "clock", "source", "one process", "step ms", "wait", "wall s"),
    *("MiB", "GFLOP", _HEADS, _LONG_NAMES, "slowest process", "communication", "compute"),
    *("epochs", "data wait %", "loop", "expected s", "steps", "× steps", "test acc %"),
    *("precision", "batch", "device", "dataset", "p", "n", _SPREADS, _LONG_TEXTS),
)
"""What a narrow terminal does without, the first of it first."""

_ON = {WALL_NOTE: {"wall s", "start s"}}
"""A note -> the columns that it is on."""

_STEPS = frozenset({_HEADS, _LONG_TEXTS, _LONG_NAMES, _SPREADS})
_GAP = 2
_SHORTEST = 16
_LONGEST_WORD = 24  # of sentences, that is kept in one line, such as optimizer_args.momentum
_SPREAD = re.compile(r" (± [\d.,]+|\([\d.,]*–[\d.,∞]*\))|, \d+ of \d+")
_FIGURE = re.compile(
    r"(≤ |[<>])?[-+]?\d[\d,.]*(e[-+]\d+)?%?"
    r"( ± [\d.,]+| of \d+| \([\d,.]*–[\d,.∞]*\))?(, \d+ of \d+)?( \(n = \d+\)| reached)?[†‡§¶]*$"
    r"|not reached[†‡§¶]*$"
)
"""A number with its spread, and of how many runs where these are fewer than a row's."""


def is_figure(cell: str) -> bool:
    """Whether `cell` is a number, with its spread and count or without, or a dash for none."""
    return cell == NOT_MEASURED or _FIGURE.match(cell) is not None


def unexpected(rows: Rows) -> list[dict[str, str]]:
    """`rows` without the columns that say the same, expected thing of each."""
    gone = {k for k, text in _EXPECTED.items() if all(row.get(k, text) == text for row in rows)}
    return [_but(row, gone) for row in rows]


def split_shared(rows: Rows) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The settings that all `rows` share, and the rows without these and without empty columns.

    A single row keeps its recipe or model.
    """
    rows = unexpected(rows)
    first = rows[0]
    same = [k for k in first if all(row[k] == first[k] for row in rows)]
    named = _NAMES if len(rows) > 1 else _NAMES[-1:]
    gone = {k for k in same if first[k] == NOT_MEASURED or k in {*named, *_SAID_ONCE}}
    told = {k: first[k] for k in same if k in gone and first[k] != NOT_MEASURED}
    return (told, [_but(row, gone) for row in rows]) if gone < first.keys() else ({}, rows)


class Fitted(NamedTuple):
    """A table of some width, with what all rows share `above` and what is left out `below` it.

    Where each row takes several `lines`, these are the table, and there are no `rows`.
    """

    above: str
    rows: list[dict[str, str]]
    below: str = ""
    lines: Sequence[str] = ()

    def told(self, notes: Sequence[str]) -> list[str]:
        """Those of `notes` that are on a column that is shown, or on none."""
        shown = {" ".join(head.split()) for head in (self.rows[0] if self.rows else ())}
        return [text for text in notes if not shown or _ON.get(text, shown) & shown]


def fit(rows: Rows, width: int, *, names: Collection[str] = ()) -> Fitted:
    """`rows`, column -> text, in lines of `width` letters; columns of `names` tell rows apart."""
    shared, rows = split_shared(rows)
    label = "all rows" if len(rows) > 1 else "settings"
    items = [f"{k} {v}" for k, v in shared.items()]
    whole = [one if len(one) > width // 2 else one.replace(" ", "\xa0") for one in items]
    above = f"{label}: {', '.join(whole)}" if shared else ""
    above = wrapped(above, width, indent="  ", keep_words=True)
    columns = _Columns(rows, width=width, names={*names, *_NAMES, *_SETTINGS})
    without = columns.left_out()
    if without is None:
        return Fitted(above, [], lines=_in_blocks(rows, width))
    told = ", ".join(name for name in without if name not in {_HEADS, _LONG_TEXTS})
    below = f"left out for {width} columns: {told}; --wide shows them" if told else ""
    return Fitted(above, columns.shown(without), below)


class _Column:
    """The cells of a column, with spreads and without, and how many letters they need.

    Of names and sentences, `shrinks` says which of the steps makes them shorter.
    """

    def __init__(self, name: str, cells: Sequence[str], *, is_name: bool) -> None:
        self.name, self._cells, self._bare = name, cells, [_SPREAD.sub("", c) for c in cells]
        self._word = max(map(cell_len, name.split()), default=0)
        self._longest, self._longest_bare = (max(map(cell_len, c)) for c in (cells, self._bare))
        self.shrinks = _LONG_TEXTS if name in _TEXTS else ""
        words = max((cell_len(word) for cell in cells for word in cell.split()), default=0)
        self._least = min(max(words, _SHORTEST), _LONGEST_WORD) if self.shrinks else _SHORTEST
        if is_name and len({_shortened(cell, _SHORTEST) for cell in cells}) == len({*cells}):
            self.shrinks = _LONG_NAMES

    def letters(self, without: Collection[str]) -> int:
        cells = self._longest_bare if _SPREADS in without else self._longest
        if self.shrinks in without:
            cells = min(cells, self._least)
        return max(self._word if _HEADS in without else cell_len(self.name), cells)

    def shown(self, width: int, without: Collection[str]) -> tuple[str, list[str]]:
        """Its head and its cells in so many letters."""
        head = wrapped(self.name, width) if _HEADS in without else self.name
        cells = self._bare if _SPREADS in without else list(self._cells)
        shorter = wrapped if self.shrinks == _LONG_TEXTS else _shortened
        return head, [shorter(c, width) for c in cells] if self.shrinks in without else cells


class _Columns:
    """The columns of `rows`, of which some may be left out for `width` letters a line."""

    def __init__(self, rows: Rows, *, width: int, names: Collection[str]) -> None:
        self._rows, self._width = rows, width
        self._names = [name for name in rows[0] if name in names]
        self._columns = {
            k: _Column(k, [row[k] for row in rows], is_name=k in names and k not in _SETTINGS)
            for k in rows[0]
        }

    def left_out(self) -> list[str] | None:
        """The least that has to be left out, in the order above; ``None`` if all is too little."""
        without: list[str] = []
        told = {*_LEAST_FIRST, "workload"}  # whose settings need not say what it is
        settings = [name for name in reversed(self._names) if name not in told]
        for name in (*_LEAST_FIRST, *settings):
            if self._room(without) >= 0:
                break
            if name in _STEPS or (name in self._columns and self._can_spare(name, without)):
                without.append(name)
        if self._room(without) < 0:
            return None
        for name in reversed(without.copy()):
            rest = [other for other in without if other != name]
            without = without if self._room(rest) < 0 else rest
        return without

    def shown(self, without: Collection[str]) -> list[dict[str, str]]:
        """The rows without these; what shrinks is as long as there is room."""
        room, drawn = self._room(without), {}
        for column in self._kept(without):
            least = column.letters(without)
            width = min(least + room, column.letters({*without} - {column.shrinks}))
            room -= width - least
            head, drawn[head] = column.shown(width, without)
        return [dict(zip(drawn, cells, strict=True)) for cells in zip(*drawn.values(), strict=True)]

    def _kept(self, without: Collection[str]) -> list[_Column]:
        return [column for name, column in self._columns.items() if name not in without]

    def _room(self, without: Collection[str]) -> int:
        """Letters that are free in a line; below 0 if it is too short."""
        return self._width + _GAP - sum(_GAP + c.letters(without) for c in self._kept(without))

    def _can_spare(self, name: str, without: Collection[str]) -> bool:
        """Whether rows are told apart by their names without it, and there is more than it."""
        if len(self._kept(without)) == 1:
            return False
        before = [k for k in self._names if k not in without]
        after = [k for k in before if k != name]
        with_it, without_it = (
            {tuple(r[k] for k in ks) for r in self._rows} for ks in (before, after)
        )
        return after == before or len(with_it) == len(without_it)


def _in_blocks(rows: Rows, width: int) -> list[str]:
    """A line for each cell that is not blank, and an empty one between rows."""
    blocks = [[f"{k}: {text}" for k, text in row.items() if text] for row in rows]
    told = ["\n".join(wrapped(cell, width, indent="  ") for cell in block) for block in blocks]
    return "\n\n".join(told).splitlines()


def _shortened(name: str, width: int) -> str:
    """`name` without its middle, if it is longer than `width`."""
    end = (width - 1) // 2
    return name if cell_len(name) <= width else f"{name[: width - 1 - end]}…{name[-end:]}"


def wrapped(text: str, width: float, *, indent: str = "", keep_words: bool = False) -> str:
    """`text` in lines of `width` letters; with `keep_words` what is longer, such as a path, too."""
    if len(text) <= width:
        return text.replace("\xa0", " ")
    lines = textwrap.fill(
        text.replace(" %", "\xa0%"),  # a number keeps its unit
        int(width),
        subsequent_indent=indent,
        break_long_words=not keep_words,
        break_on_hyphens=False,
    )
    return lines.replace("\xa0", " ")


def _but(row: Mapping[str, str], gone: Collection[str]) -> dict[str, str]:
    return {k: v for k, v in row.items() if k not in gone}
