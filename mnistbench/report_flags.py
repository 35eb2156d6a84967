"""The flags of each kind of report, and which kind is asked for, in the form of today or before."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from mnistbench.flags import POSITIONAL, CommandFlags, Fraction
from mnistbench.output.tables import TableFormat
from mnistbench.schema.errors import InputError


class Report(CommandFlags):
    """Show runs, in one way or another."""

    groups: ClassVar = {"Records": "paths", "Output": "format"}

    paths: Annotated[tuple[Path, ...], POSITIONAL] = ()
    """Records, or folders that are searched for record.json. Default: runs."""
    strict: bool = False
    """Exit with status 2 if a record in a folder cannot be read; otherwise it is left out."""
    format: TableFormat = "table"
    """Format of the result on stdout."""
    wide: bool = False
    """Show all columns of tables, however wide the terminal is."""
    plot: Path | None = None
    """Draw what was evaluated, and loss, to this .png or .svg file."""


class Epochs(Report):
    """Show the accuracy after each epoch."""

    prog: ClassVar = "mnistbench report epochs"


class Rules(Report):
    """Score the runs by the rules of MLPerf, AlgoPerf, DAWNBench and airbench, side by side."""

    prog: ClassVar = "mnistbench report rules"
    groups: ClassVar = {"Records": "paths", "Scores": "targets", "Output": "format"}

    targets: tuple[Fraction, ...] = ()
    """Accuracies to score at, such as 0.95 0.97 [fractions]. Default: those of the runs."""


class Page(Report):
    """Show what a page shows as well."""

    html: Path | None = None
    """Write a page with all results to this .html file, which needs no network."""
    figures: Path | None = None
    """Write the pictures of that page to this folder, as .png and .svg."""


class Summary(Page):
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


class Targets(Page):
    """Score the stored curves at other target accuracies: when, and by how many runs."""

    prog: ClassVar = "mnistbench report targets"
    groups: ClassVar = {"Records": "paths", "Scores": "targets", "Output": "format"}

    targets: tuple[Fraction, ...] = (0.95, 0.97, 0.99)
    """Accuracies to score at [fractions]."""


class Scaling(Page):
    """Compare runs of several processes with those of one: the speed-up, and what limits it."""

    prog: ClassVar = "mnistbench report scaling"
    groups: ClassVar = {"Records": "paths", "Scaling": "target_accuracy", "Output": "format"}

    target_accuracy: Fraction | None = None
    """Accuracy at which times are read [fraction]. Default: that of the runs."""
    fit_on: tuple[int, ...] = ()
    """Process counts that the model is fitted on; the others check it. Default: all, or all but
    the largest of three."""


class Watch(CommandFlags):
    """Show a sweep while it runs. It ends with the sweep, with status 1 if runs are missing."""

    prog: ClassVar = "mnistbench report watch"

    folder: Annotated[Path, POSITIONAL] = Path("runs/sweep")
    """Folder of the sweep."""
    every_s: float = Field(2.0, ge=0.1, le=3600)
    """Time between updates [seconds]."""


REPORTS: dict[str, type[Report] | type[Watch]] = {
    "": Summary,
    "targets": Targets,
    "epochs": Epochs,
    "rules": Rules,
    "scaling": Scaling,
    "watch": Watch,
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


def which_report(argv: list[str]) -> tuple[str, list[str], str]:
    """The report that is asked for, "" for the summary; the words behind its name; a remark."""
    name = argv[0] if argv and argv[0] in REPORTS else ""
    near = get_close_matches(argv[0], REPORTS, n=1, cutoff=0.8) if argv else []
    if near and not name and argv[0].isalpha() and not Path(argv[0]).exists():
        raise InputError(f"{argv[0]}: does not exist; did you mean {near[0]}?")
    typed = {word.partition("=")[0].replace("_", "-") for word in argv}
    if name or "--rules" in typed:
        typed -= {"--targets"}  # is a flag of theirs, or of none
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


def check_flags(name: str, words: Sequence[str]) -> None:
    """Refuse a flag of another report."""
    for flag in (word.partition("=")[0] for word in words if word.startswith("--")):
        field = flag[2:].replace("-", "_")
        others = [other for other, flags in REPORTS.items() if field in flags.model_fields]
        if others and name not in others:
            raise InputError(f"{flag}: is a flag of `{REPORTS[others[0]].prog}`")
