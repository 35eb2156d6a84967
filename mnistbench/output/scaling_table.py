"""Scaling reports: what was gained and why no more, as text, or as data in full precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from mnistbench.analysis.differences import code_of
from mnistbench.analysis.metrics import METRICS, Asked
from mnistbench.analysis.number_text import NOT_MEASURED, count, goal, ms
from mnistbench.analysis.scaling.analysis import Check, ScalingReport
from mnistbench.analysis.scaling.model import StepModel
from mnistbench.analysis.scaling.speedup import Measured, why_no_more
from mnistbench.analysis.scaling.topology import Topology
from mnistbench.analysis.stability import mark_notes, time_mark
from mnistbench.output.export import target_columns
from mnistbench.output.number_format import counted_text, level_text, ratio_text
from mnistbench.output.screen import WIDE, Screen
from mnistbench.output.table_notes import MEDIAN_NOTE
from mnistbench.output.tables import TableFormat, data_text

_OTHER_LINK = 4.0  # readings of one vary by two to four
_ELSEWHERE = {"topology", "base", "speedups"}
_PLACE = ("num_processes", "num_threads", "global_batch_size", "num_machines", "num_cores")


def render_scaling(
    reports: Sequence[ScalingReport], *, table_format: TableFormat, screen: Screen = WIDE
) -> str:
    """The verdicts, what was measured, what the model says of others, and the notes.

    JSON has an object for each report; CSV a row for each row of its tables, named by `table`.
    """
    if table_format == "json":
        values = [
            {"configuration": report.name, **target_columns(report.target)}
            | {"verdicts": verdict_lines(report), "notes": scaling_notes(report)}
            | {"model": report.model and vars(report.model) | {"link": _data(report.model.link)}}
            | _rows(report)
            for report in reports
        ]
        return data_text(values, "json")
    if table_format == "csv":
        rows = [
            {"table": table, "configuration": report.name, **target_columns(report.target)} | row
            for report in reports
            for table, rows in _rows(report).items()
            for row in rows
        ]
        return data_text(rows, "csv")
    return "\n\n".join(_text(report, table_format, screen) for report in reports)


def verdict_lines(report: ScalingReport) -> list[str]:
    """The largest speed-up, and how near the model came to what it was not fitted on."""
    gains = [(g.speed, g, r.topology) for r in report.measured for g in r.speedups if g.speed]
    said = "no samples/s of one process and of several were measured"
    if gains:
        speed, gain, topology = max(gains, key=lambda found: found[0].value)
        said = f"at best {ratio_text(speed)} × the samples/s of one process"
        if gain.time:
            said += f", {ratio_text(gain.time)} × as fast to {goal(report.target)}"
        said += f": {topology.shape} at batch {topology.global_batch_size}, {gain.scaling} scaling"
    return [f"{report.name}: {said}", _model_line(report)]


def speedup_cells(report: ScalingReport) -> list[dict[str, str]]:
    """Each topology of several processes against one: column -> text."""
    return [
        _lead(row.topology)
        | {
            "scaling": gain.scaling,
            "one process": f"{gain.base.shape}, {gain.base.global_batch_size}",
            "× samples/s": _marked(ratio_text(gain.speed), row.topology, gain.base),
            "efficiency %": _count(gain.efficiency and 100 * gain.efficiency),
            f"× to {goal(report.target)}": _marked(ratio_text(gain.time), row.topology, gain.base),
            "× steps": ratio_text(gain.steps),
            "why no more": why_no_more(row.topology, gain),
        }
        for row in report.measured
        for gain in row.speedups
    ]


def scaling_notes(report: ScalingReport) -> list[str]:
    """The lines below the tables."""
    topologies = [row.topology for row in report.measured]
    used = [check.topology for check in (*report.fitted, *report.held_out)]
    others = dict.fromkeys(t.shape for t in topologies if t.step_s and t not in used)
    commits = {code_of(run) for topology in topologies for run in topology.runs}
    timed = [run for check in report.fitted for run in check.topology.timed]
    links = [run.link.bandwidth_bytes_per_s for run in timed if run.link]
    lines = [
        "samples/s: means over runs, repeats of a seed too, ± half the width of the 95 % interval",
        f"s and steps to {goal(report.target)}: medians over seeds {MEDIAN_NOTE}",
        "strong: against one process with the same global batch; weak: with the same batch on each",
        *(_model_notes(report.model) if report.model else []),
    ]
    if others:
        lines.append(f"not fitted, {', '.join(others)}: other threads than most processes have")
    if links and max(links) > _OTHER_LINK * min(links):
        lines.append("runs found links of very different speeds: report each by itself")
    if len(commits) > 1:
        lines.append(f"runs are of {len(commits)} commits: {', '.join(sorted(commits))}")
    return [*lines, *report.unseen, *mark_notes([topology.runs for topology in topologies])]


def _text(report: ScalingReport, table_format: TableFormat, screen: Screen) -> str:
    tables = {
        "Measured": [_measured_cells(row, report.target) for row in report.measured],
        "Against one process": speedup_cells(report),
        "Held out": [_check_cells(check) for check in report.held_out],
        "Forecast, conditional on the model": [
            {
                "scaling": row.scaling,
                "processes": str(row.num_processes),
                "global batch": str(row.global_batch_size),
                "samples/s": _count(row.samples_per_s),
                "× samples/s": f"{row.speedup:.2f}",
            }
            for row in report.forecasts
        ],
    }
    screen = screen.in_format(table_format)
    shown = [f"{k}:\n\n{screen.table(rows)}" for k, rows in tables.items() if rows]
    verdicts, notes = map(screen.lines, (verdict_lines(report), scaling_notes(report)))
    return "\n\n".join([verdicts, *shown, notes])


def _model_line(report: ScalingReport) -> str:
    if report.model is None:
        return "no model: no setup was timed with a core for each thread"
    counts = sorted({check.topology.num_processes for check in report.fitted})
    shared = [check for check in report.held_out if check.topology.threads_per_core > 1]
    held_out = [check for check in report.held_out if check not in shared]
    said = [f"where fitted ({', '.join(map(str, counts))} processes) {_errors(report.fitted)}"]
    said.append(f"held out {_errors(held_out)}" if held_out else "nothing held out")
    if shared:
        said.append(f"where threads share cores, which it does not know, {_errors(shared)}")
    return f"the model's samples/s are off by: {'; '.join(said)}"


def _errors(checks: Sequence[Check]) -> str:
    errors = sorted(100 * check.error for check in checks if check.error is not None)
    ends = dict.fromkeys(f"{round(end):+d} %" for end in (errors[:1] + errors[-1:]))
    return f"{' to '.join(ends)} (n = {len(errors)})" if errors else "not known"


def _model_notes(model: StepModel) -> list[str]:
    exchange = "what an exchange takes is not known, as no link was measured"
    if model.link:
        link = (
            f"{ms(model.link.latency_s)} ms, {count(model.link.bandwidth_bytes_per_s / 1e6)} MB/s"
        )
        ring = f"the ring's time for {model.num_bytes / 1e6:.3g} MB over {link}"
        exchange = f"an exchange takes {ms(model.call_s)} ms and {ring}"
    untold = {
        "fixed_s": "the model: to compute is taken to go by the samples alone; sweep over batches",
        "call_s": "the model: an exchange is taken to cost its link alone; sweep over batches",
    }
    computing = f"{ms(model.fixed_s)} ms and {ms(model.per_sample_s)} ms a sample"
    return [
        f"the model: a process with a core for each thread computes {computing}; {exchange}",
        *(line for name, line in untold.items() if name not in model.fitted),
        "a forecast has no interval: it is conditional on a law that the fit cannot judge",
    ]


def _lead(topology: Topology) -> dict[str, str]:
    n, timed, seeds = (len(runs) for runs in (topology.runs, topology.timed, topology.per_seed))
    return {
        "processes × threads": topology.shape,
        "global batch": str(topology.global_batch_size),
        "n": str(n) + f", {timed} timed" * (timed < n) + f", {seeds} seeds" * (seeds < n),
    }


def _measured_cells(row: Measured, target: Asked) -> dict[str, str]:
    reached = NOT_MEASURED
    if row.time_s.n:
        reached = counted_text(row.time_s, METRICS["time_to_accuracy_s"])
    parts = row.split.model_dump() if row.split and row.topology.num_processes > 1 else {}
    return _lead(row.topology) | {
        "samples/s": _marked(level_text(row.samples_per_s, METRICS["samples_per_s"]), row.topology),
        f"s to {goal(target)}": _marked(reached, row.topology),
        "steps": level_text(row.steps, METRICS["steps_to_accuracy"])
        if row.steps.n
        else NOT_MEASURED,
        "step ms": ms(row.step_s),
        **{name: ms(parts.get(f"{name}_s")) for name in ("compute", "communication", "wait")},
        "slowest process": str(parts.get("slowest_process", NOT_MEASURED)),
    }


def _check_cells(check: Check) -> dict[str, str]:
    return _lead(check.topology) | {
        "threads per core": f"{check.topology.threads_per_core:.3g}",
        "samples/s": _count(check.measured),
        "predicted": _count(check.predicted),
        "error %": NOT_MEASURED if check.error is None else f"{round(100 * check.error):+d}",
    }


def _marked(text: str, *topologies: Topology) -> str:
    runs = [run for topology in topologies for run in topology.runs]
    return text if text == NOT_MEASURED else text + time_mark(runs)


def _count(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:,.0f}"


def _rows(report: ScalingReport) -> dict[str, list[dict[str, Any]]]:
    """The rows of all tables; figures and other parts are mappings of their own."""
    gains = [(row.topology, gain) for row in report.measured for gain in row.speedups]
    return {
        "measured": [_place(row.topology) | _data(row) for row in report.measured],
        "speedups": [
            _place(t) | {"base_threads": gain.base.num_threads} | _data(gain) for t, gain in gains
        ],
        "held_out": [_place(check.topology) | _data(check) for check in report.held_out],
        "forecast": [_data(row) for row in report.forecasts],
    }


def _place(topology: Topology) -> dict[str, Any]:
    return {name: getattr(topology, name) for name in _PLACE}


def _data(value: Any) -> Any:
    """`value` by the names of its parts, as JSON has it, but for what the row begins with."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    if not hasattr(value, "_asdict"):
        return value
    return {k: _data(v) for k, v in value._asdict().items() if k not in _ELSEWHERE}
