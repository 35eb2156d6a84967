"""Where tables and sentences are read: a terminal, plain text of some width, or Markdown."""

from __future__ import annotations

import io
import math
import os
import shutil
from collections.abc import Collection, Sequence
from typing import NamedTuple, TextIO

from tabulate import tabulate

from mnistbench.analysis.number_text import NOT_MEASURED
from mnistbench.output.fitted_table import Fitted, Rows, fit, is_figure, wrapped
from mnistbench.schema.escaping import brief, markdown, printable

_LONGEST = 300
"""Letters of a cell: nobody reads on, and a terminal would be full of it."""

_NARROWEST = 20
_NO_TERMINAL = 80
_GAP = 2


class Screen(NamedTuple):
    """Where text is read, and how many letters a line has. Nothing in the text is obeyed there.

    Where the width is infinite, and in Markdown, tables have all columns.
    """

    width: float = math.inf
    is_terminal: bool = False
    is_markdown: bool = False

    @classmethod
    def of(cls, stream: TextIO, *, wide: bool = False) -> Screen:
        """What `stream` is: as wide as ``COLUMNS`` says, or its terminal; 80 where it is none."""
        is_terminal = stream.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}
        known = stream.isatty() or os.environ.get("COLUMNS")
        columns = shutil.get_terminal_size().columns if known else _NO_TERMINAL
        return cls(math.inf if wide else max(_NARROWEST, columns), is_terminal)

    def in_format(self, table_format: str) -> Screen:
        """The same, or Markdown."""
        return Screen(is_markdown=True) if table_format == "markdown" else self

    def text(self, sentence: str) -> str:
        """`sentence` in lines of this width, or in one of Markdown."""
        if self.is_markdown:
            return markdown(sentence)
        return wrapped(printable(sentence), self.width, indent="  ", keep_words=True)

    def lines(self, sentences: Sequence[str]) -> str:
        """`sentences` below each other; in Markdown, which joins lines, with lines between."""
        return self.end.join(map(self.text, sentences))

    @property
    def end(self) -> str:
        """What comes between a table and sentences, and between these."""
        return "\n\n" if self.is_markdown else "\n"

    def table(self, rows: Rows, *, names: Collection[str] = (), notes: Sequence[str] = ()) -> str:
        """A table with what its rows share above, and below what is left out and the notes.

        Args:
            rows: column -> text.
            names: columns that tell rows apart, beside those of settings.
            notes: lines, of which one on a column that is left out is not shown.
        """
        if self.is_markdown:
            safe = [{markdown(k): markdown(brief(v, _LONGEST)) for k, v in r.items()} for r in rows]
            table = tabulate(safe, headers="keys", tablefmt="pipe", disable_numparse=True)
            return self.end.join([table, *map(self.text, notes)])
        fitted = self.fit(rows, names=names)
        drawn = (_by_rich if self.is_terminal else plain_table)(fitted.rows) if fitted.rows else ""
        table = drawn or "\n".join(fitted.lines)
        below = [self.text(text) for text in (fitted.below, *fitted.told(notes))]
        return "\n".join(filter(None, (fitted.above, table, *below)))

    def fit(self, rows: Rows, *, names: Collection[str] = ()) -> Fitted:
        """The parts of `table`."""
        safe = [{printable(k): brief(v, _LONGEST) for k, v in row.items()} for row in rows]
        if math.isinf(self.width) or not safe:
            return Fitted("", safe)
        return fit(safe, int(self.width), names=names)


WIDE = Screen()
"""All columns, in plain letters."""


def plain_table(rows: Rows) -> str:
    """`rows` as they are, with figures at the right of their columns."""
    heads = list(rows[0]) if rows else []
    columns = [(head, *(row[head] for row in rows)) for head in heads]
    rulers = ["-" * max(len(line) for cell in c for line in cell.split("\n")) for c in columns]
    cells = [heads, rulers, *(row.values() for row in rows)]  # a head of tabulate's is padded
    sides = ["right" if right else "left" for right in _at_right(rows)]
    return tabulate(cells, tablefmt="plain", disable_numparse=True, colalign=sides)


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
    Console(file=out, width=_LONGEST * len(rows[0]), force_terminal=True).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _at_right(rows: Rows) -> list[bool]:
    return [all(is_figure(row[k]) for row in rows) for k in (rows[0] if rows else ())]
