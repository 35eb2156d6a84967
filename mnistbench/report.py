"""The command that reports: any number of records as a table, data, a page or pictures."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from mnistbench import __version__
from mnistbench.analysis.reference_bands import packaged_references
from mnistbench.analysis.scaling.analysis import analyse_scaling
from mnistbench.cli import exit_on_input_error, say, show
from mnistbench.flags import POSITIONAL, CommandFlags, Fraction, parse
from mnistbench.launch.children import raised_stops
from mnistbench.launch.watching import watch
from mnistbench.output.page.page import render_page, save_pictures
from mnistbench.output.page.report_data import ReportOptions
from mnistbench.output.plots import FORMATS, plot_curves
from mnistbench.output.scaling_table import render_scaling
from mnistbench.output.tables import (
    TableFormat,
    render_epochs,
    render_rules,
    render_runs,
    render_targets,
    run_lines,
)
from mnistbench.schema.errors import InputError, Terminated
from mnistbench.schema.escaping import markdown, printable
from mnistbench.schema.files import check_writable, write_whole
from mnistbench.schema.record import RunRecord
from mnistbench.schema.reference import ReferenceCurve, find_references, load_reference
from mnistbench.schema.store import Loaded, load_records
from mnistbench.schema.streams import written
from mnistbench.workload.recipes import RECIPES

__all__ = ["main"]

_PAGES = (".html", ".htm")


class _Report(CommandFlags):
    """Show runs, in one way or another."""

    groups: ClassVar = {"Records": "paths", "Output": "format"}

    paths: Annotated[tuple[Path, ...], POSITIONAL] = ()
    """Records, or folders that are searched for record.json. Default: runs."""
    strict: bool = False
    """Exit with status 2 if a record in a folder cannot be read; otherwise it is left out."""
    format: TableFormat = "table"
    """Format of the result on stdout."""
    plot: Path | None = None
    """Draw accuracy and loss by epoch to this .png or .svg file."""


class _Epochs(_Report):
    """Show the accuracy after each epoch."""

    prog: ClassVar = "mnistbench report epochs"


class _Rules(_Report):
    """Score the runs by the rules of MLPerf, AlgoPerf, DAWNBench and airbench, side by side."""

    prog: ClassVar = "mnistbench report rules"
    groups: ClassVar = {"Records": "paths", "Scores": "targets", "Output": "format"}

    targets: tuple[Fraction, ...] = ()
    """Accuracies to score at, such as 0.95 0.97 [fractions]. Default: those of the runs."""


class _Page(_Report):
    """Show what a page shows as well."""

    html: Path | None = None
    """Write a page with all results to this .html file, which needs no network."""
    figures: Path | None = None
    """Write the pictures of that page to this folder, as .png and .svg."""


class _Summary(_Page):
    """Show what runs reached: the seeds of one configuration in one row, with their interval."""

    prog: ClassVar = "mnistbench report"
    groups: ClassVar = {"Records": "paths", "Rows": "per_run", "Output": "format"}
    notes: ClassVar = """Other reports are commands of their own, each with a --help:

  mnistbench report targets   time to other target accuracies
  mnistbench report epochs    accuracy after each epoch
  mnistbench report rules     scores by the rules of four benchmarks
  mnistbench report scaling   what more processes gain
  mnistbench report watch     a sweep while it runs

Write ./targets for a folder that has the name of a report."""

    per_run: bool = False
    """Show one row for each run, instead of one for all seeds of a configuration."""
    references: Path | None = None
    """Folder of the reference curves to check the runs against. Default: those of the package."""


class _Targets(_Page):
    """Score the stored curves at other target accuracies: when, and by how many runs."""

    prog: ClassVar = "mnistbench report targets"
    groups: ClassVar = {"Records": "paths", "Scores": "targets", "Output": "format"}

    targets: tuple[Fraction, ...] = (0.95, 0.97, 0.99)
    """Accuracies to score at [fractions]."""


class _Scaling(_Page):
    """Compare runs of several processes with those of one: the speed-up, and what limits it."""

    prog: ClassVar = "mnistbench report scaling"
    groups: ClassVar = {"Records": "paths", "Scaling": "target_accuracy", "Output": "format"}

    target_accuracy: Fraction | None = None
    """Accuracy at which times are read [fraction]. Default: that of the runs."""
    fit_on: tuple[int, ...] = ()
    """Process counts that the model is fitted on; the others check it. Default: all, or all but
    the largest of three."""


class _Watch(CommandFlags):
    """Show a sweep while it runs. It ends with the sweep, with status 1 if runs are missing."""

    prog: ClassVar = "mnistbench report watch"

    folder: Annotated[Path, POSITIONAL] = Path("runs/sweep")
    """Folder of the sweep."""
    every_s: float = Field(2.0, ge=0.1, le=3600)
    """Time between updates [seconds]."""


_REPORTS: dict[str, type[_Report]] = {
    "": _Summary,
    "targets": _Targets,
    "epochs": _Epochs,
    "rules": _Rules,
    "scaling": _Scaling,
}
_SWITCHES = ("--by-epoch", "--by_epoch", "--rules", "--scaling", "--watch")
_OLD_FLAGS = {
    "--by-epoch": "epochs",
    "--rules": "rules",
    "--scaling": "scaling",
    "--watch": "watch",
    "--targets": "targets",
}
"""Flags of earlier releases -> the report that each has become."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv`; exit status 1 if a sweep that was watched lacks runs."""
    argv = list(sys.argv[1:] if argv is None else argv)
    with exit_on_input_error(argv):
        name, words, note = _named(argv)
        _check_flags(name, words)
        status = _watch(parse(_Watch, words)) if name == "watch" else _report(name, words)
    if note:
        say(note)
    return status


def _report(name: str, words: Sequence[str]) -> int:
    """Show the report `name`, and write the files that are asked for."""
    flags = parse(_REPORTS[name], words)
    _check_files(flags)
    loaded = load_records(flags.paths or (Path("runs"),), strict=flags.strict)
    text = _render(loaded.records, flags)
    _draw(loaded, flags)
    _show(text, loaded.note, flags.format)
    return 0


def _named(argv: list[str]) -> tuple[str, list[str], str]:
    """The report that is asked for, "" for the summary; the words behind its name; a remark."""
    name = argv[0] if argv and argv[0] in (*_REPORTS, "watch") else ""
    typed = {word.partition("=")[0].replace("_", "-") for word in argv}
    if name in {"targets", "rules"} or "--rules" in typed:
        typed -= {"--targets"}  # is theirs
    old = [flag for flag in _OLD_FLAGS if flag in typed]
    if len(old) > 1:
        raise InputError(f"{old[0]}: cannot go with {old[1]}; leave one out")
    if old:
        name = _OLD_FLAGS[old[0]]
        words = [word.removeprefix("--watch=") for word in argv if word not in _SWITCHES]
        return name, words, f"{old[0]} is now `mnistbench report {name}`; the old form still works"
    words = argv[1:] if name else argv
    is_meant = name and Path(name).is_dir() and all(word.startswith("-") for word in words[:1])
    note = f"{name} is a report here; for the folder, write ./{name}" if is_meant else ""
    return name, words, note


def _check_flags(name: str, words: Sequence[str]) -> None:
    """Refuse a flag of another report."""
    all_flags: dict[str, type[CommandFlags]] = {**_REPORTS, "watch": _Watch}
    for flag in (word.partition("=")[0] for word in words if word.startswith("--")):
        field = flag[2:].replace("-", "_")
        others = [other for other, flags in all_flags.items() if field in flags.model_fields]
        if others and name not in others:
            raise InputError(f"{flag}: is a flag of `{all_flags[others[0]].prog}`")


def _show(text: str, note: str, table_format: TableFormat) -> None:
    """`text` with `note` below it, or on stderr where `text` is data."""
    if note and table_format == "table":
        text += f"\n{printable(note)}"
    elif note and table_format == "markdown":
        text += f"\n\n{markdown(note)}"
    show(text)
    if note and table_format in {"csv", "json"}:
        say(note)


def _watch(flags: _Watch) -> int:
    """Show the sweep; exit status 1 if it has ended with cells left, 130 at Ctrl-C."""
    try:
        with raised_stops(), written():
            done = watch(flags.folder, table=run_lines, every_s=flags.every_s, out=sys.stdout)
            return 0 if done else 1
    except KeyboardInterrupt as stop:
        raise SystemExit(143 if isinstance(stop, Terminated) else 130) from None
    return 0  # nobody reads on


def _draw(loaded: Loaded, flags: _Report) -> None:
    records = loaded.records
    if flags.plot is not None:
        plot_curves(records, flags.plot)
    if not isinstance(flags, _Page) or (flags.html is None and flags.figures is None):
        return
    options = ReportOptions(
        targets=flags.targets if isinstance(flags, _Targets) else (),
        references=_load_references(flags),
        recipes={name: recipe.settings for name, recipe in RECIPES.items()},
        scaling_fit_on=flags.fit_on if isinstance(flags, _Scaling) else (),
        scaling_target=flags.target_accuracy if isinstance(flags, _Scaling) else None,
        left_out=loaded.note,
    )
    if flags.figures is not None:
        save_pictures(records, flags.figures, options)
    if flags.html is not None:
        made_at = f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by mnistbench {__version__}."
        write_whole(flags.html, render_page(records, options, made_at=made_at), named=True)


def _render(records: Sequence[RunRecord], flags: _Report) -> str:
    kind = flags.format
    match flags:
        case _Scaling(fit_on=fit_on, target_accuracy=target):
            reports = analyse_scaling(records, fit_on=fit_on, target=target)
            return render_scaling(reports, table_format=kind)
        case _Epochs():
            return render_epochs(records, table_format=kind)
        case _Rules():
            return render_rules(records, flags.targets, table_format=kind)
        case _Targets():
            return render_targets(records, flags.targets, table_format=kind)
    per_run = isinstance(flags, _Summary) and flags.per_run
    references = _load_references(flags)
    return render_runs(records, table_format=kind, per_run=per_run, references=references)


def _load_references(flags: _Report) -> list[ReferenceCurve]:
    folder = flags.references if isinstance(flags, _Summary) else None
    if folder is None:
        return packaged_references()
    return [load_reference(path) for path in find_references(folder)]


def _check_files(flags: _Report) -> None:
    """Refuse a file that could not be written, before the records are read."""
    html, figures = (flags.html, flags.figures) if isinstance(flags, _Page) else (None, None)
    for name, path, kinds in (("plot", flags.plot, FORMATS), ("html", html, _PAGES)):
        if path is None:
            continue
        if path.suffix.lower() not in kinds:
            raise InputError(f"{name}: {path} should end in {' or '.join(kinds)}")
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        check_writable(target.parent, name=name)
    if figures is not None:
        check_writable(figures, name="figures")


if __name__ == "__main__":
    sys.exit(main())
