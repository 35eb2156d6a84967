"""What a page is made of: sections of sentences, pictures, tables and commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mnistbench.output.charts.picture import Picture
from mnistbench.output.fitted_table import is_figure

_ONE_LINE = 28
_LONG = 40


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells, column -> text, all of the same columns, of which the first names a row.

    The `title` is said above it, if a section has several.
    """

    rows: Sequence[Mapping[str, str]]
    title: str = ""

    @property
    def folded(self) -> bool:
        """Whether it is shown on request only, as it is long and seldom read."""
        return bool(self.title) and len(self.rows) > _LONG

    @property
    def columns(self) -> list[str]:
        """Their headings."""
        return list(self.rows[0])

    @property
    def of(self) -> str:
        """What its lines are, for the filter: rows of the page, parts of some, or ``""``: facts."""
        return "runs" if self.columns[0] == "run" else "others" if self.title else ""

    @property
    def looks(self) -> dict[str, str]:
        """How each column is set: numbers as figures, what is short in one line, all else long."""
        return {column: self._look(column) for column in self.columns}

    def _look(self, column: str) -> str:
        cells = [row[column] for row in self.rows]
        if column != self.columns[0] and all(map(is_figure, cells)):
            return "figure"
        return "brief" if max(map(len, cells)) <= _ONE_LINE else "long"


@dataclass(frozen=True, kw_only=True)
class Commands:
    """The commands that make one row again, or why there are none."""

    name: str
    lines: Sequence[str]
    why_none: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section of a page, in the order in which it is read; `key` is its anchor.

    `lead` is one sentence on what a reader sees, `said` is what is concluded, and `notes` are what
    marks mean and what has to be said below tables.
    """

    key: str
    title: str
    lead: str
    said: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    commands: Sequence[Commands] = ()
