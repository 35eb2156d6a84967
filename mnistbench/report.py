"""The door to reports: any number of records as a table, Markdown, CSV, JSON or a picture."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from mnistbench.analysis.plots import plot_curves
from mnistbench.analysis.tables import render_epochs, render_runs
from mnistbench.cli import exit_on_input_error, parse, show
from mnistbench.schema.store import find_records, load_record

__all__ = ["main"]


@dataclass(frozen=True, kw_only=True)
class _Flags:
    paths: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Records, or folders searched for record.json. Default: runs."""
    format: Literal["table", "markdown", "csv", "json"] = "table"
    """How to print the rows."""
    plot: Path | None = None
    """Draw accuracy and loss by epoch to this .png or .svg file."""
    by_epoch: bool = False
    """Show accuracy after each epoch instead of the summary."""
    per_run: bool = False
    """A row for each run, instead of one for all seeds of the same run."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door with `argv` and return exit status 0."""
    with exit_on_input_error():
        flags = parse(
            _Flags,
            sys.argv[1:] if argv is None else argv,
            prog="mnistbench.report",
            description="Show what runs reached, seeds of one run together with their interval.",
        )
        paths = find_records(flags.paths or (Path("runs"),))
        records = [load_record(path) for path in paths]
        if flags.by_epoch:
            text = render_epochs(records, table_format=flags.format)
        else:
            text = render_runs(records, table_format=flags.format, per_run=flags.per_run)
        if flags.plot is not None:
            plot_curves(records, flags.plot)
    show(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
