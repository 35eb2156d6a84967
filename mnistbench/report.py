"""The command that reports: any number of records as a table, data, a page or pictures."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mnistbench.analysis.reference_bands import packaged_references
from mnistbench.analysis.scaling.analysis import analyse_scaling
from mnistbench.cli import exit_on_input_error, say, show
from mnistbench.flags import parse
from mnistbench.launch.children import raised_stops
from mnistbench.launch.watching import watch
from mnistbench.output.charts.figure import FORMATS, plot_curves
from mnistbench.output.page.page import save_pictures
from mnistbench.output.page.report_data import ReportOptions
from mnistbench.output.python_calls import PAGES, write_page
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
from mnistbench.report_flags import (
    REPORTS,
    Epochs,
    Page,
    Report,
    Rules,
    Scaling,
    Summary,
    Targets,
    Watch,
    check_flags,
    which_report,
)
from mnistbench.schema.disk_space import say_written
from mnistbench.schema.errors import InputError, Terminated
from mnistbench.schema.escaping import markdown
from mnistbench.schema.files import check_writable
from mnistbench.schema.record import RunRecord
from mnistbench.schema.reference import ReferenceCurve, find_references, load_reference
from mnistbench.schema.store import Loaded, load_records
from mnistbench.schema.streams import progress, written


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv`; exit status 1 if a sweep that was watched lacks runs."""
    argv = list(sys.argv[1:] if argv is None else argv)
    with exit_on_input_error(argv):
        name, words, note = which_report(argv)
        check_flags(name, words)
        flags, _ = parse(REPORTS[name], words)
        status = _report(flags) if isinstance(flags, Report) else _watch(flags)
    if note:
        say(note)
    return status


def _report(flags: Report) -> int:
    """Show the report, and write the files that are asked for."""
    _check_files(flags)
    progress("reading records")
    loaded = load_records(flags.paths or (Path("runs"),), strict=flags.strict)
    progress(f"making the table, records: {len(loaded.records):,}")
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


def _watch(flags: Watch) -> int:
    """Show the sweep; exit status 1 if it has ended with cells left, 130 at Ctrl-C."""
    try:
        with raised_stops(), written():
            done = watch(flags.folder, table=run_lines, every_s=flags.every_s, out=sys.stdout)
            return 0 if done else 1
    except KeyboardInterrupt as stop:
        raise SystemExit(143 if isinstance(stop, Terminated) else 130) from None
    return 0  # nobody reads on


def _draw(loaded: Loaded, flags: Report) -> None:
    records = loaded.records
    if flags.plot is not None:
        plot_curves(records, flags.plot)
        say_written("plot", flags.plot)
    if not isinstance(flags, Page) or (flags.html is None and flags.figures is None):
        return
    progress(f"drawing, records: {len(records):,}")
    options = ReportOptions(
        targets=flags.targets if isinstance(flags, Targets) else (),
        references=_load_references(flags),
        scaling_fit_on=flags.fit_on if isinstance(flags, Scaling) else (),
        scaling_target=flags.target_accuracy if isinstance(flags, Scaling) else None,
        left_out=loaded.note,
    )
    if flags.figures is not None:
        pictures = save_pictures(records, flags.figures, options)
        say_written(f"{len(pictures)} pictures", flags.figures)
    if flags.html is not None:
        write_page(records, flags.html, options=options)
        say_written("page", flags.html)


def _render(records: Sequence[RunRecord], flags: Report, screen: Screen) -> str:
    kind = flags.format
    match flags:
        case Scaling(fit_on=fit_on, target_accuracy=target):
            reports = analyse_scaling(records, fit_on=fit_on, target=target)
            return render_scaling(reports, table_format=kind, screen=screen)
        case Epochs():
            return render_epochs(records, table_format=kind, screen=screen)
        case Rules():
            return render_rules(records, flags.targets, table_format=kind, screen=screen)
        case Targets():
            return render_targets(records, flags.targets, table_format=kind, screen=screen)
    return render_runs(
        records,
        table_format=kind,
        per_run=isinstance(flags, Summary) and flags.per_run,
        references=_load_references(flags),
        screen=screen,
    )


def _load_references(flags: Report) -> list[ReferenceCurve]:
    folder = flags.references if isinstance(flags, Summary) else None
    if folder is None:
        return packaged_references()
    return [load_reference(path) for path in find_references(folder)]


def _check_files(flags: Report) -> None:
    """Refuse a file that could not be written, before the records are read."""
    html, figures = (flags.html, flags.figures) if isinstance(flags, Page) else (None, None)
    for name, path, kinds in (("plot", flags.plot, FORMATS), ("html", html, PAGES)):
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
