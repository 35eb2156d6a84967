"""The door to reports: any number of records as a table, data, a page or pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import tyro

from mnistbench import __version__
from mnistbench.analysis.reference_bands import packaged_references
from mnistbench.analysis.scaling.analysis import analyse_scaling
from mnistbench.cli import exit_on_input_error, parse, say, show
from mnistbench.launch.children import raised_stops
from mnistbench.launch.watching import watch
from mnistbench.output.page.page import render_page, save_pictures
from mnistbench.output.page.report_data import ReportOptions
from mnistbench.output.plots import plot_curves
from mnistbench.output.scaling_table import render_scaling
from mnistbench.output.screen import Screen
from mnistbench.output.tables import (
    TableFormat,
    render_epochs,
    render_rules,
    render_runs,
    render_targets,
    run_lines,
)
from mnistbench.schema.errors import InputError, Terminated
from mnistbench.schema.escaping import markdown
from mnistbench.schema.files import write_whole
from mnistbench.schema.record import RunRecord
from mnistbench.schema.reference import ReferenceCurve, find_references, load_reference
from mnistbench.schema.store import Loaded, load_records
from mnistbench.schema.streams import written
from mnistbench.workload.recipes import RECIPES

__all__ = ["main"]

_PAGES = {".html", ".htm"}
_EVERY_S = 2.0
_OTHER_ROWS = ("by_epoch", "targets", "rules")
_NOT_WITH = {
    "by_epoch": ("targets", "rules"),
    "per_run": _OTHER_ROWS,
    "references": _OTHER_ROWS,
    "scaling": (*_OTHER_ROWS, "per_run", "references"),
    **dict.fromkeys(("html", "figures"), ("by_epoch", "rules", "per_run")),
}
_ONLY_WITH = {"target_accuracy": "scaling", "fit_on": "scaling", "every_s": "watch"}


@dataclass(frozen=True, kw_only=True)
class _Flags:
    paths: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Records, or folders searched for record.json. Default: runs."""
    format: TableFormat = "table"
    """How to print the rows."""
    wide: bool = False
    """Show all columns of tables, however wide the terminal is."""
    plot: Path | None = None
    """Draw accuracy and loss by epoch to this .png or .svg file."""
    html: Path | None = None
    """Write a page to explore to this .html file: one file that needs no network."""
    figures: Path | None = None
    """Draw all pictures of that page into this folder, as .png and .svg of a column's width."""
    watch: Path | None = None
    """Follow the sweep in this folder as it runs; ends with it, with status 1 if cells are left."""
    every_s: float | None = None
    """Seconds between looks of --watch [seconds]. Default: 2."""
    by_epoch: bool = False
    """Show accuracy after each epoch instead of the summary."""
    targets: tuple[float, ...] = ()
    """Score the stored curves at these accuracies instead, such as 0.95 0.97 0.99 [fractions]."""
    rules: bool = False
    """Score them by the rules of MLPerf, AlgoPerf, DAWNBench and airbench as well, side by side."""
    scaling: bool = False
    """Compare several processes with one: what they gained, and why no more."""
    target_accuracy: float | None = None
    """Accuracy that --scaling reads times at [fraction]. Default: what the runs were told."""
    fit_on: tuple[int, ...] = ()
    """Fit the model of --scaling on these process counts, and check it on the others."""
    per_run: bool = False
    """A row for each run in the summary, instead of one for all seeds of the same run."""
    strict: bool = False
    """End with status 2 where a record in a folder cannot be read, instead of leaving it out."""
    references: Path | None = None
    """Folder of reference curves that runs are held to. Default: those of the package."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door with `argv` and return exit status 0."""
    with exit_on_input_error():
        flags = parse(
            _Flags,
            sys.argv[1:] if argv is None else argv,
            prog="mnistbench.report",
            description="Show what runs reached, seeds of one run together with their interval.",
        )
        _check(flags)
        if flags.watch is not None:
            return _watch(flags.watch, flags.every_s or _EVERY_S)
        loaded = load_records(flags.paths or (Path("runs"),), strict=flags.strict)
        screen = Screen.of(sys.stdout, wide=flags.wide)
        text = _render(loaded.records, flags, screen)
        _draw(loaded, flags)
    _show(text, loaded.note, flags.format, screen)
    return 0


def _show(text: str, note: str, table_format: TableFormat, screen: Screen) -> None:
    """`text` with `note` below it, or on stderr where `text` is data."""
    if note and table_format == "table":
        text += f"\n{screen.text(note)}"
    elif note and table_format == "markdown":
        text += f"\n\n{markdown(note)}"
    show(text)
    if note and table_format in {"csv", "json"}:
        say(note)


def _watch(folder: Path, every_s: float) -> int:
    """Follow `folder`; exit status 1 if its sweep has ended with cells left, 130 at Ctrl-C."""
    try:
        with raised_stops(), written():
            return 0 if watch(folder, table=run_lines, every_s=every_s, out=sys.stdout) else 1
    except KeyboardInterrupt as stop:
        raise SystemExit(143 if isinstance(stop, Terminated) else 130) from None
    return 0  # nobody reads on


def _draw(loaded: Loaded, flags: _Flags) -> None:
    records = loaded.records
    if flags.plot is not None:
        plot_curves(records, flags.plot)
    if flags.html is None and flags.figures is None:
        return
    options = ReportOptions(
        targets=flags.targets,
        references=_load_references(flags.references),
        recipes={name: recipe.settings for name, recipe in RECIPES.items()},
        scaling_fit_on=flags.fit_on,
        scaling_target=flags.target_accuracy,
        left_out=loaded.note,
    )
    if flags.figures is not None:
        save_pictures(records, flags.figures, options)
    if flags.html is not None:
        made_at = f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by mnistbench {__version__}."
        write_whole(flags.html, render_page(records, options, made_at=made_at), named=True)


def _render(records: Sequence[RunRecord], flags: _Flags, screen: Screen) -> str:
    if flags.scaling:
        reports = analyse_scaling(records, fit_on=flags.fit_on, target=flags.target_accuracy)
        return render_scaling(reports, table_format=flags.format, screen=screen)
    if flags.by_epoch:
        return render_epochs(records, table_format=flags.format, screen=screen)
    if flags.rules:
        return render_rules(records, flags.targets, table_format=flags.format, screen=screen)
    if flags.targets:
        return render_targets(records, flags.targets, table_format=flags.format, screen=screen)
    return render_runs(
        records,
        table_format=flags.format,
        per_run=flags.per_run,
        references=_load_references(flags.references),
        screen=screen,
    )


def _load_references(folder: Path | None) -> list[ReferenceCurve]:
    if folder is None:
        return packaged_references()
    return [load_reference(path) for path in find_references(folder)]


def _check(flags: _Flags) -> None:
    given = [one.name for one in fields(flags) if getattr(flags, one.name) != one.default]
    for name in given:
        if clash := [other for other in _NOT_WITH.get(name, ()) if other in given]:
            raise InputError(f"{name}: cannot go with {_spelled(clash)}; leave one out")
        if (needed := _ONLY_WITH.get(name, name)) not in given:
            raise InputError(f"{name}: has no effect without {_spelled([needed])}")
    if flags.watch is not None and {*given} - {"watch", "every_s"}:
        raise InputError("watch: is a view of its own; leave out all but --every-s")
    if flags.every_s is not None and not 0.1 <= flags.every_s <= 3600:
        raise InputError(f"every_s: {flags.every_s:g} should be from 0.1 to 3600 seconds")
    own = () if flags.target_accuracy is None else (flags.target_accuracy,)
    for name, targets in (("targets", flags.targets), ("target_accuracy", own)):
        for target in targets:
            if not 0 < target <= 1:
                raise InputError(f"{name}: {target:g} should be a fraction in (0, 1], such as 0.97")
    if flags.html is not None and flags.html.suffix.lower() not in _PAGES:
        raise InputError(f"{flags.html}: a page is .html; name the file so")


def _spelled(names: Sequence[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


if __name__ == "__main__":
    sys.exit(main())
