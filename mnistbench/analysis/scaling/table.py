"""Scaling reports as text: tables and verdicts for a terminal or Markdown, or data in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mnistbench.analysis.cells import NOT_MEASURED, estimate_text, goal, median_text, seconds
from mnistbench.analysis.escaping import markdown, printable
from mnistbench.analysis.scaling.gains import Gain, Measured
from mnistbench.analysis.scaling.notes import link_text, scaling_notes
from mnistbench.analysis.scaling.prediction import Figure, Outlook, Predicted
from mnistbench.analysis.scaling.setups import Setup
from mnistbench.analysis.scaling.study import Check, ScalingReport
from mnistbench.analysis.scaling.values import (
    held_out_values,
    measured_values,
    model_values,
    predicted_values,
)
from mnistbench.analysis.scaling.verdict import check_line, verdict_lines
from mnistbench.analysis.stability import time_mark
from mnistbench.analysis.tables import TableFormat, data_text, render_table

__all__ = ["render_scaling"]


def render_scaling(reports: Sequence[ScalingReport], *, table_format: TableFormat) -> str:
    """What was measured, where a step's time goes, what is predicted, the verdicts and the notes.

    JSON has an object for each report; CSV a row for each row of its tables, named by `table`.
    """
    if table_format == "json":
        return data_text([_values(report) for report in reports], "json")
    if table_format == "csv":
        return data_text([row for report in reports for row in _csv_rows(report)], "csv")
    named = len(reports) > 1
    return "\n\n".join(_text(report, table_format, named=named) for report in reports)


def _text(report: ScalingReport, table_format: TableFormat, *, named: bool) -> str:
    target = report.target
    several_links = len({link_text(s.link) for s in report.family.setups if s.link}) > 1
    tables = {
        "Measured": [
            _measured_cells(row, gain, target)
            for row in report.measured
            for gain in row.gains or (None,)
        ],
        "A step": [_step_cells(row) for row in report.measured],
        "Predicted": [
            _outlook_cells(outlook, row, target)
            for outlook in report.outlooks
            for row in outlook.rows
        ],
        "Held out": [_check_cells(check, target) for check in report.checks],
    }
    safe = markdown if table_format == "markdown" else printable
    parts = [safe(report.family.name)] if named else []
    parts += [
        f"{title}:\n\n{render_table(_without_link(rows, several_links), table_format)}"
        for title, rows in tables.items()
        if rows
    ]
    lines = [line for line in (*verdict_lines(report), check_line(report)) if line]
    for told in (lines, scaling_notes(report)):
        # single line breaks are lost in Markdown
        end = "\n\n" if table_format == "markdown" else "\n"
        parts.append(end.join(map(safe, told)))
    return "\n\n".join(parts)


def _lead(setup: Setup) -> dict[str, str]:
    return {
        "processes × threads": setup.shape,
        "global batch": str(setup.global_batch_size),
        "link": link_text(setup.link) or NOT_MEASURED,
    }


def _without_link(rows: Sequence[Mapping[str, str]], several: bool) -> list[dict[str, str]]:
    """`rows` with their link only where this tells some apart."""
    return [{k: v for k, v in row.items() if several or k != "link"} for row in rows]


def _measured_cells(row: Measured, gain: Gain | None, target: float) -> dict[str, str]:
    setup, time = row.setup, row.time_s
    mark = time_mark(setup.alone)
    speed = estimate_text(row.samples_per_s and row.samples_per_s._asdict(), _count)
    alone = len(setup.runs) == 1
    ratios = gain or Gain("strong", setup, None, None, None, None, None)
    return _lead(setup) | {
        "n": str(len(setup.runs)),
        "samples/s": speed + (mark if row.samples_per_s else ""),
        f"s to {goal(target)}": NOT_MEASURED
        if time is None
        else median_text(time._asdict(), seconds, alone=time.n == 1) + mark,
        "steps": median_text(row.steps._asdict(), _count, alone=alone),
        "scaling": gain.scaling if gain else NOT_MEASURED,
        "× samples/s": _ratio(ratios.speed),
        "efficiency %": _efficiency(ratios.speed, setup.num_processes),
        f"× to {goal(target)}": _ratio(ratios.time),
        f"efficiency % to {goal(target)}": _efficiency(ratios.time, setup.num_processes),
        "= step time": _ratio(ratios.hardware, bounds=False),
        "× steps": _ratio(ratios.steps, bounds=False),
    }


def _step_cells(row: Measured) -> dict[str, str]:
    split = row.split
    values: Sequence[float | None] = [None] * 4
    if split:
        values = (split.compute_s, split.communication_s, split.wait_s, split.skew_s)
    several = row.setup.num_processes > 1
    return _lead(row.setup) | {
        "step ms (mean)": _ms(row.step_s),
        **dict(zip(("compute", "communication", "wait", "skew"), map(_ms, values), strict=True)),
        "slowest process": str(split.slowest_process) if split and several else NOT_MEASURED,
    }


def _outlook_cells(outlook: Outlook, row: Predicted, target: float) -> dict[str, str]:
    first, processes = outlook.rows[0].samples_per_s.value, row.setting.num_processes
    compute_s, communication_s, wait_s = row.parts
    return {
        "scaling": f"{outlook.scaling}, {outlook.base_batch}",
        "processes": f"{processes:,}",
        "global batch": f"{row.setting.global_batch_size:,}",
        "samples/s": _bounded(row.samples_per_s, _count),
        "efficiency %": f"{100 * row.samples_per_s.value / first / processes:.0f}",
        f"s to {goal(target)}": _bounded(row.time_s, lambda x: f"{x:.3g}"),
        "compute ms": _ms(compute_s),
        "communication ms": _ms(communication_s),
        "wait ms": _ms(wait_s),
    }


def _check_cells(check: Check, target: float) -> dict[str, str]:
    measured, predicted = check.measured, check.predicted
    speed, time = measured.samples_per_s, measured.time_s
    return _lead(measured.setup) | {
        "samples/s": _count(speed.mean) if speed else NOT_MEASURED,
        "predicted": _bounded(predicted and predicted.samples_per_s, _count),
        "error %": _error(check.speed_error),
        "step ms": _ms(measured.step_s),
        "step predicted": _ms(predicted and predicted.parts.step_s),
        "step error %": _error(check.step_error),
        f"s to {goal(target)}": _seconds(time and time.median),
        "s predicted": _bounded(predicted and predicted.time_s, lambda x: f"{x:.3g}"),
        "s error %": _error(check.time_error),
    }


def _ratio(figure: Figure | None, *, bounds: bool = True) -> str:
    if figure is None:
        return NOT_MEASURED
    if not bounds:
        return f"{figure.value:.2f}"
    return _bounded(figure, lambda x: f"{x:.2f}")


def _bounded(figure: Figure | None, show: Any) -> str:
    if figure is None:
        return NOT_MEASURED
    if figure.low is None and figure.high is None:
        return f"{show(figure.value)} ({NOT_MEASURED})"
    low = show(figure.low or 0.0)
    return f"{show(figure.value)} ({low}–{'∞' if figure.high is None else show(figure.high)})"


def _efficiency(figure: Figure | None, num_processes: int) -> str:
    return NOT_MEASURED if figure is None else f"{100 * figure.value / num_processes:.0f}"


def _error(error: float | None) -> str:
    return NOT_MEASURED if error is None else f"{100 * error:+.0f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _seconds(value: float | None) -> str:
    return NOT_MEASURED if value is None else seconds(value)


def _ms(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{1000 * value:.3g}"


def _values(report: ScalingReport) -> dict[str, Any]:
    return {
        "configuration": report.family.name,
        "target_accuracy": report.target,
        "measured": measured_values(report),
        "model": model_values(report),
        "predicted": predicted_values(report),
        "held_out": held_out_values(report),
        "verdicts": verdict_lines(report),
        "check": check_line(report),
        "notes": scaling_notes(report),
    }


def _csv_rows(report: ScalingReport) -> list[dict[str, Any]]:
    tables = {
        "measured": measured_values(report),
        "predicted": predicted_values(report),
        "held_out": held_out_values(report),
    }
    lead = {"configuration": report.family.name, "target_accuracy": report.target}
    return [{"table": table} | lead | row for table, rows in tables.items() for row in rows]
