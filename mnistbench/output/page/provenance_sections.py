"""Sections on what runs were made with, how to make them again, and what to be careful with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mnistbench.analysis.differences import code_of, conditions
from mnistbench.analysis.machine_drift import drift
from mnistbench.analysis.metrics import METRICS
from mnistbench.analysis.number_text import NOT_MEASURED
from mnistbench.analysis.stability import (
    is_profiled,
    is_unstable,
    ran_beside_others,
    stood_still,
)
from mnistbench.output.page.parts import Commands, Section, Table
from mnistbench.output.page.report_data import ReportRow, Subject, by_conditions
from mnistbench.output.rerun import how_made, rerun_commands, start_notes
from mnistbench.schema.errors import InputError
from mnistbench.schema.provenance import sources_text
from mnistbench.schema.record import DatasetInfo, RunRecord

_MOST_NAMED = 4
_MOST_ENDED = 50


def environment_section(subject: Subject) -> Section:
    """What all runs were made with; where they differ, which rows have which."""
    facts = {
        name: found for name, read in _FACTS.items() if (found := _by_value(subject, read))
    } | _versions(subject)
    cells = [
        {"what": name, "value": value, "rows": "all" if len(found) == 1 else _names(rows)}
        for name, found in facts.items()
        for value, rows in found.items()
    ]
    differing = [name for name, found in facts.items() if len(found) > 1]
    told = f"Rows differ in {', '.join(differing)}." if differing else "The same for all rows."
    if all(cell["rows"] == "all" for cell in cells):
        cells = [{k: v for k, v in cell.items() if k != "rows"} for cell in cells]
    return Section(
        key="environment",
        title="Environment",
        lead="What the runs were made with.",
        said=[told] if len(subject.rows) > 1 else [],
        tables=[Table(rows=cells)],
    )


def _found(name: str) -> Callable[[RunRecord], Any]:
    return lambda record: record.environment.get(name)


def _gib(record: RunRecord) -> str | None:
    size = record.environment.get("memory_bytes")
    return f"{size / 2**30:.1f} GiB" if isinstance(size, int | float) else None


def _data(show: Callable[[DatasetInfo], str]) -> Callable[[RunRecord], str | None]:
    return lambda record: show(record.dataset) if record.dataset else None


_FACTS: Mapping[str, Callable[[RunRecord], Any]] = {
    "device": _found("device_name"),
    "processor": _found("cpu_name"),
    "driver": _found("driver"),
    "CUDA": _found("cuda"),
    "cuDNN": _found("cudnn"),
    "usable cores": _found("num_usable_cores"),
    "memory": _gib,
    "processes": _found("num_processes"),
    "machines": _found("num_machines"),
    "threads each": _found("num_threads"),
    "precision": _found("mixed_precision"),
    "launcher": _found("launcher"),
    "platform": _found("platform"),
    "data": _data(lambda data: f"{data.name} ({data.source})"),
    "loop": lambda record: record.workload and record.workload.framework,
    "data sha256": _data(lambda data: f"{data.sha256[:12]}…"),
    "images": _data(lambda d: f"{d.num_train:,} train, {d.num_val:,} val, {d.num_test:,} test"),
    "commit": code_of,
    "code of your own": lambda record: sources_text(record.code),
}


def _by_value(subject: Subject, read: Callable[[RunRecord], Any]) -> dict[str, list[str]]:
    """The values that are known, each with the rows that have it; one row may have several."""
    found: dict[str, list[str]] = {}
    for row in subject.rows:
        for value in dict.fromkeys(str(v) for run in row.runs if (v := read(run)) is not None):
            found.setdefault(value, []).append(row.name)
    return found


def _versions(subject: Subject) -> dict[str, dict[str, list[str]]]:
    runs = (run for row in subject.rows for run in row.runs)
    names = dict.fromkeys(name for run in runs for name in run.versions)
    return {name: found for name in names if (found := _by_value(subject, _version(name)))}


def _version(name: str) -> Callable[[RunRecord], Any]:
    return lambda record: record.versions.get(name)


def _names(names: Iterable[str]) -> str:
    told = list(names)
    more = len(told) - _MOST_NAMED
    return "; ".join(told[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def rerun_section(subject: Subject) -> Section:
    """The commands that make each row again."""
    commands = [_commands(row) for row in subject.rows]
    told = start_notes(line for command in commands for line in command.lines)
    ours = not all(row.runs[0].is_foreign for row in subject.rows)
    return Section(
        key="rerun",
        title="Run it again" if ours else "How it was made",
        lead="The command of each row, with what differs from the defaults or its recipe."
        if ours
        else "The loop, the script and the configuration of each row.",
        commands=commands,
        notes=["data are looked for where they are by default, results go to runs", *told] * ours,
    )


def _commands(row: ReportRow) -> Commands:
    if row.runs[0].is_foreign:
        return Commands(name=row.name, lines=(), why_none=how_made(row.runs))
    try:
        return Commands(name=row.name, lines=rerun_commands(row.runs))
    except InputError as error:
        return Commands(name=row.name, lines=(), why_none=f"not by this version: {error}")


def care_section(subject: Subject) -> Section | None:
    """What is marked, left out or not to be compared; ``None`` where all is well."""
    ended = [
        {
            "run": row.name,
            "seed": NOT_MEASURED if run.seed is None else str(run.seed),
            "status": run.status,
            "why": run.error or NOT_MEASURED,
        }
        for row in subject.rows
        for run in row.runs
        if run.status != "completed"
    ]
    shown = ended[:_MOST_ENDED]
    said = [f"{len(ended) - len(shown)} more runs did not complete"] * (len(ended) > len(shown))
    said += [subject.options.left_out] * bool(subject.options.left_out)
    apart = _apart(subject)
    marked = [cells for row in subject.rows for cells in _marks(row)]
    tables = [
        Table(title=title, rows=rows)
        for title, rows in (
            ("Did not complete", shown),
            ("Times that mean less", marked),
            ("Times not to be compared with those of the other rows", apart),
        )
        if rows
    ]
    if not tables and not said:
        return None
    return Section(
        key="care",
        title="To be careful with",
        lead="What is marked above, counts differently, or is under other conditions.",
        tables=tables,
        notes=said,
    )


_MARKS: Mapping[str, tuple[Callable[[RunRecord], Any], str]] = {
    "† unstable": (is_unstable, "the machine's own speed moved by up to {:.0f} % while it ran"),
    "‡ beside others": (ran_beside_others, "its cores were shared on purpose"),
    "§ profiled": (is_profiled, "watching slows steps; in no picture of times"),
    "¶ stood still": (stood_still, "stopped, frozen or throttled while it trained"),
    "resumed": (
        lambda run: run.interruptions,
        "went on after an interruption, which does not count",
    ),
}
"""What is marked: by which runs, and why; the first tells by how many percent."""


def _marks(row: ReportRow) -> Iterable[dict[str, str]]:
    moved = max((drift(run.canary) for run in row.runs if run.canary), default=0.0)
    for mark, (which, why) in _MARKS.items():
        if number := sum(bool(which(run)) for run in row.runs):
            runs = f"{number} of {len(row.runs)}"
            yield {"run": row.name, "mark": mark, "runs": runs, "why": why.format(100 * moved)}


def _apart(subject: Subject) -> list[dict[str, str]]:
    """Rows whose times are under other conditions than those of most rows, and which these are."""
    needs = METRICS["time_to_accuracy_s"].needs
    most, *others = by_conditions(subject.timed, needs) or [[]]
    found: dict[str, list[str]] = {}
    for row in (row for rows in others for row in rows):
        differing = conditions(row.runs, most[0].runs, needs)
        why = "; ".join(f"{name}: {text}" for name, text in differing.items())
        found.setdefault(why, []).append(row.name)
    return [{"rows": _names(names), "differ in": why} for why, names in found.items()]
