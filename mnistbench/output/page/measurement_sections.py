"""Sections on what runs measured: the main table, times to targets, curves, ledger, speeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import starmap
from statistics import fmean

from mnistbench.analysis.bottleneck import data_wait_text
from mnistbench.analysis.free_metrics import free_metrics
from mnistbench.analysis.grouping import identify
from mnistbench.analysis.metrics import METRICS, SHARED_PHASES, score_target
from mnistbench.analysis.number_text import NOT_MEASURED, goal
from mnistbench.analysis.repeats import began_a_process, counted
from mnistbench.analysis.scaling.analysis import ScalingReport, analyse_scaling
from mnistbench.analysis.scaling.speedup import Measured, Speedup
from mnistbench.analysis.stability import is_profiled, mark_notes, time_mark
from mnistbench.output.charts.curve_pictures import curve_pictures
from mnistbench.output.charts.picture import Picture
from mnistbench.output.charts.speed_pictures import Speed, speed_picture, speedup_picture
from mnistbench.output.charts.stacked_bars import Stack, ledger_picture
from mnistbench.output.charts.time_pictures import TimedRow, time_picture
from mnistbench.output.fitted_table import split_shared
from mnistbench.output.number_format import (
    run_cells,
    target_cells,
    told_columns,
    with_target_in_head,
)
from mnistbench.output.page.parts import Section, Table
from mnistbench.output.page.report_data import ReportRow, Subject
from mnistbench.output.scaling_table import scaling_notes, speedup_cells, verdict_lines
from mnistbench.output.table_notes import notes, target_notes
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import DATA_WAIT, PHASES, RunRecord, Target


def summary_section(subject: Subject) -> Section:
    """The main table: a row for each group."""
    groups = [row.runs for row in subject.rows]
    metrics = free_metrics(groups)
    found = [run_cells(runs, subject.options.references, metrics=metrics) for runs in groups]
    cells = told_columns(found, groups)
    named = zip(subject.rows, cells, strict=True)
    rows = with_target_in_head([{"run": row.name} | its for row, its in named])
    if all("completed" in row["status"] for row in rows):  # then n says how many of how many
        rows = [row | {"status": "completed"} for row in rows]
    same, shown = split_shared(rows)
    told = ", ".join(f"{k} {v}" for k, v in same.items())
    said = [f"{'All rows' if len(rows) > 1 else 'Settings'}: {told}."] if told else []
    return Section(
        key="summary",
        title="Summary",
        lead="What each row reached: a row is one configuration, over all seeds that it was run "
        "with.",
        tables=[Table(rows=shown)],
        said=said,
        notes=notes(groups, subject.options.references),
    )


def time_section(subject: Subject) -> Section | None:
    """Time to each target, fastest rows first; ``None`` where no run has one."""
    scored = {
        target: sorted(
            ((row, score_target(row.runs, target)) for row in rows),
            key=lambda one: (one[1].time_s.value is None, one[1].time_s.value or 0.0),
        )
        for target, rows in subject.scored.items()
    }
    if not scored:
        return None
    places, others = subject.places, [t for t in scored if isinstance(t, Target) and not t.accuracy]
    marks = {row.name: time_mark(row.runs, to_target=True) for row in subject.rows}
    timed = (
        ([TimedRow(r.name, s.time_s, marks[r.name], places[r.name]) for r, s in rows], target)
        for target, rows in scored.items()
    )
    return Section(
        key="time",
        title="Time to target" if others else "Time to accuracy",
        lead="Seconds on the train clock until a row read the target, evaluations left out; "
        "runs that never got there count as slower than they were long.",
        pictures=[picture for picture in starmap(time_picture, timed) if picture],
        tables=[
            Table(
                title=f"To {goal(target)}",
                rows=[{"run": row.name} | target_cells(s, mark=marks[row.name]) for row, s in rows],
            )
            for target, rows in scored.items()
        ],
        notes=[
            *target_notes([(row.runs, t) for t, rows in subject.scored.items() for row in rows]),
            "expected s is all time spent for each success, failures started again",
            *mark_notes([row.runs for row in subject.timed], to_target=True),
        ],
    )


def curve_section(subject: Subject) -> Section | None:
    """Accuracy and loss by epoch; ``None`` where nothing was evaluated or trained."""
    rows = subject.rows
    pictures = curve_pictures([row.runs for row in rows], [row.name for row in rows])
    if not pictures:
        return None
    return Section(
        key="curves",
        title="Curves",
        lead="How accuracy and training loss went, epoch by epoch."
        if not any(run.is_foreign for run in subject.records)
        else "How what was evaluated, and the training loss, went.",
        pictures=pictures,
    )


def ledger_section(subject: Subject) -> Section | None:
    """Where the wall clock went; ``None`` where no second was spent."""
    ledgers: dict[str, dict[str, float]] = {
        row.name: {phase: _mean_s(phase, counted(row.runs)) for phase in _phases(subject)}
        for row in subject.timed
    }
    spent = {name: ledger for name, ledger in ledgers.items() if sum(ledger.values()) > 0}
    if not spent:
        return None
    shown = [phase for phase in _phases(subject) if any(round(s[phase], 2) for s in spent.values())]
    cells = [
        {"run": name}
        | {f"{phase} s": f"{ledger[phase]:.2f}" for phase in shown}
        | {"in all": f"{sum(ledger.values()):.2f}"}
        for name, ledger in spent.items()
    ]
    return Section(
        key="ledger",
        title="Clock ledger",
        lead="What the seconds of a run went into, from its start to its result.",
        said=[
            f"{row.name} waits for data: {text} % of training."
            for row in subject.timed
            if (text := data_wait_text(counted(row.runs))) != NOT_MEASURED
        ],
        pictures=[ledger_picture([Stack(name, ledger) for name, ledger in spent.items()])],
        tables=[Table(title="Mean seconds by phase", rows=cells)],
        notes=[
            "import, startup and data are means over the runs that began a process",
            *mark_notes([row.runs for row in subject.timed]),
        ],
    )


def _phases(subject: Subject) -> list[str]:
    """All phases: ours in their order, waiting for data with training, then others by name."""
    named = {phase for row in subject.timed for run in row.runs for phase in run.phases_s}
    at = PHASES.index("train") + 1
    known = [*PHASES[:at], DATA_WAIT, *PHASES[at:]]
    known = [phase for phase in known if phase in named or phase in PHASES]
    return [*known[:-1], *sorted(named - {*known}), known[-1]]


def _mean_s(phase: str, runs: Sequence[RunRecord]) -> float:
    """Mean seconds of a phase; of what the seeds of a command share, over the runs that had it."""
    if phase in SHARED_PHASES:
        runs = [run for run in runs if began_a_process(run)] or runs
    return fmean(run.phases_s.get(phase, 0.0) for run in runs)


def throughput_section(subject: Subject) -> Section | None:
    """Samples per second by batch and by processes; ``None`` where neither varies."""
    found = [
        speed_picture(_speeds(subject.timed, against=against), against=against)
        for against in ("batch", "processes")
    ]
    pictures = [picture for picture in found if picture is not None]
    if not pictures:
        return None
    return Section(
        key="throughput",
        title="Throughput",
        lead="How samples per second change with the samples of a step and with the processes.",
        pictures=pictures,
        notes=mark_notes([row.runs for row in subject.timed]),
    )


def _speeds(rows: Sequence[ReportRow], *, against: str) -> list[Speed]:
    found = []
    for row in rows:
        told, speed = identify(row.runs), METRICS["samples_per_s"].of(row.runs)
        x = told["global_batch_size" if against == "batch" else "num_processes"]
        if x is None or speed.value is None:
            continue
        total, each = told["global_batch_size"], told["per_device_batch_size"]
        batch = f"batch {total} in all" if each is None else f"batch {each} each"
        beside = told["device"] if against == "batch" else batch
        parts = (str(told["recipe"]), str(beside), str(told["precision"]), str(told["loop"]))
        found.append((parts, x, speed.value, (speed.low, speed.high), row.name))
    kept = [index for index in range(4) if len({parts[index] for parts, *_ in found}) > 1] or [0]
    return [
        Speed(", ".join(parts[index] for index in kept), x, value, *ends, row)
        for parts, x, value, ends, row in found
    ]


def scaling_section(subject: Subject) -> Section | None:
    """What several processes gained over one; ``None`` where there are not both."""
    records = [record for record in subject.records if not is_profiled(record)]
    counts = {record.environment.get("num_processes") for record in records} - {None}
    if 1 not in counts or len(counts) < 2:
        return None
    options = subject.options
    lead = "What several processes gained over one, why no more, and how near a model comes to it."
    section = partial(Section, key="scaling", title="Scaling", lead=lead)
    try:
        reports = analyse_scaling(
            records, fit_on=options.scaling_fit_on, target=options.scaling_target
        )
    except InputError as error:
        return section(said=[str(error)])
    return section(
        said=[line for report in reports for line in verdict_lines(report)],
        pictures=list(_speedup_pictures(reports)),
        tables=[
            Table(title=f"{report.name}, against one process", rows=rows)
            for report in reports
            if (rows := speedup_cells(report))
        ],
        notes=list(dict.fromkeys(line for report in reports for line in scaling_notes(report))),
    )


def _speedup_pictures(reports: Sequence[ScalingReport]) -> Iterable[Picture]:
    for number, report in enumerate(reports, start=1):
        speeds = [
            Speed(_series(row, gain), row.topology.num_processes, *gain.speed)
            for row in report.measured
            for gain in row.speedups
            if gain.speed is not None
        ]
        picture = speedup_picture(speeds, number=number if len(reports) > 1 else 0)
        if picture is not None:
            yield picture


def _series(row: Measured, gain: Speedup) -> str:
    threads = row.topology.num_threads
    batch = gain.base.global_batch_size
    return f"{gain.scaling}, batch {batch}, {threads} thread{'s' * (threads > 1)} each"
