"""What the suites found, as tables below pytest-benchmark's own and as files.

A suite adds rows to a section; a section keeps the text of each cell and the figures behind it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnistbench.output.charts.figure import plot_curves
from mnistbench.output.tables import render_table
from mnistbench.schema.escaping import markdown
from mnistbench.schema.files import write_whole
from mnistbench.schema.record import RunRecord

__all__ = ["MACHINE", "Section", "SuiteReport"]

MACHINE = "machine"
"""Title of the section on the host canary."""


@dataclass
class Section:
    """A table, its notes, and the runs that its pictures are of."""

    title: str
    rows: list[Mapping[str, str]] = field(default_factory=list)
    figures: list[Mapping[str, Any]] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    pictures: dict[str, list[RunRecord]] = field(default_factory=dict)

    def add(self, row: Mapping[str, str], **figures: Any) -> None:
        """Add a row of cells and the figures that the JSON report gives for it."""
        self.rows.append(row)
        self.figures.append(figures)

    def note(self, text: str) -> None:
        """Say `text` once below the table."""
        self.notes[text] = None


class SuiteReport:
    """Sections by title, in the order in which suites first wrote to them."""

    def __init__(self) -> None:
        self._sections: dict[str, Section] = {}

    def section(self, title: str) -> Section:
        """The section called `title`, new or already begun."""
        return self._sections.setdefault(title, Section(title))

    def sections(self) -> list[Section]:
        """All sections that have rows, the machine's own at the end."""
        filled = [section for section in self._sections.values() if section.rows]
        return sorted(filled, key=lambda section: section.title == MACHINE)

    def write(self, folder: Path) -> None:
        """Write ``report.md``, ``report.json`` and a picture for each set of curves.

        Raises:
            InputError: the folder cannot be written.
        """
        sections = self.sections()
        write_whole(folder / "report.md", "\n".join(map(_markdown, sections)))
        values = {section.title: section.figures for section in sections}
        write_whole(folder / "report.json", json.dumps(values, indent=1, allow_nan=False) + "\n")
        for section in sections:
            for name, records in section.pictures.items():
                plot_curves(records, folder / f"{name}.png", accuracy_only=True)


def _markdown(section: Section) -> str:
    pictures = [f"\n![{name}]({name}.png)" for name in section.pictures]
    notes = [f"\n{markdown(note)}" for note in section.notes]
    table = render_table(section.rows, "markdown")
    return "\n".join([f"## {section.title}\n", table, *notes, *pictures, ""])
