"""Scaling reports as text: verdicts and tables for a terminal or Markdown, or data in full."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from pydantic import BaseModel

from mnistbench.analysis.number_text import NOT_MEASURED, goal, seconds
from mnistbench.analysis.scaling.gains import Gain, Measured
from mnistbench.analysis.scaling.outlook import Outlook
from mnistbench.analysis.scaling.prediction import Figure, Predicted
from mnistbench.analysis.scaling.setups import Setup
from mnistbench.analysis.scaling.study import Check, ScalingReport
from mnistbench.analysis.stability import is_unstable, time_mark
from mnistbench.output.number_format import median_text
from mnistbench.output.scaling_notes import link_text, scaling_notes
from mnistbench.output.scaling_verdict import check_line, verdict_lines
from mnistbench.output.tables import TableFormat, data_text, render_table
from mnistbench.schema.escaping import markdown, printable

__all__ = ["render_scaling"]

_PARTS = ("compute", "communication", "wait", "skew")


def render_scaling(reports: Sequence[ScalingReport], *, table_format: TableFormat) -> str:
    """The verdicts, what was measured, what is predicted, and the notes.

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
    tables = {
        "Measured": [_measured_cells(row, target) for row in report.measured],
        "Against one process": [
            _gain_cells(row, gain, target) for row in report.measured for gain in row.gains
        ],
        "Held out": [_check_cells(check, target) for check in report.checks],
        "Predicted": [
            _outlook_cells(outlook, row, target)
            for outlook in report.outlooks
            for row in outlook.rows
        ],
    }
    safe = markdown if table_format == "markdown" else printable
    end = "\n\n" if table_format == "markdown" else "\n"  # Markdown joins single lines
    checked = check_line(report)
    lines = [*verdict_lines(report), *([checked] if checked else [])]
    one_link = not any(setup.link_rank for setup in report.family.setups)
    shown = [
        f"{title}:\n\n{render_table(_without_link(rows) if one_link else rows, table_format)}"
        for title, rows in tables.items()
        if rows
    ]
    parts = [
        safe(report.family.name) if named else "",
        end.join(map(safe, lines)),
        *shown,
        end.join(map(safe, scaling_notes(report))),
    ]
    return "\n\n".join(filter(None, parts))


def _lead(setup: Setup) -> dict[str, str]:
    return {
        "processes × threads": setup.shape,
        "global batch": str(setup.global_batch_size),
        "link": link_text(setup.link) or NOT_MEASURED,
    }


def _without_link(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k != "link"} for row in rows]


def _measured_cells(row: Measured, target: float) -> dict[str, str]:
    setup, time, split = row.setup, row.time_s, row.split
    mark, n, timed = time_mark(setup.alone), len(setup.runs), len(setup.timed)
    speed = NOT_MEASURED
    if row.samples_per_s:
        half = row.samples_per_s.half_width
        speed = _count(row.samples_per_s.mean) + ("" if half is None else f" ± {_count(half)}")
    parts = {name: _ms(getattr(split, f"{name}_s") if split else None) for name in _PARTS}
    slowest = str(split.slowest_process) if split and setup.num_processes > 1 else NOT_MEASURED
    return _lead(setup) | {
        "n": str(n) if timed == n else f"{n}, {timed} timed",
        "samples/s": speed + (mark if row.samples_per_s else ""),
        f"s to {goal(target)}": NOT_MEASURED
        if time is None
        else median_text(time._asdict() | {"of": time.n}, seconds) + mark,
        "steps": median_text(row.steps._asdict() | {"of": n}, _count),
        "step ms": _ms(row.step_s),
        **parts,
        "slowest process": slowest,
    }


def _gain_cells(row: Measured, gain: Gain, target: float) -> dict[str, str]:
    return _lead(row.setup) | {
        "scaling": gain.scaling,
        "one process": f"{gain.base.shape}, {gain.base.global_batch_size}",
        "× samples/s": _bounded(gain.speed, _ratio),
        "efficiency %": _percent(gain.efficiency),
        f"× to {goal(target)}": _bounded(gain.time, _ratio),
        f"efficiency % to {goal(target)}": _percent(gain.time_efficiency),
        "= step time": _bounded(gain.hardware, _ratio),
        "× steps": _bounded(gain.steps, _ratio),
    }


def _outlook_cells(outlook: Outlook, row: Predicted, target: float) -> dict[str, str]:
    compute_s, communication_s, wait_s = row.parts
    return {
        "scaling": f"{outlook.scaling}, {outlook.base_batch}",
        "processes": f"{row.setting.num_processes:,}",
        "global batch": f"{row.setting.global_batch_size:,}",
        "samples/s": _bounded(row.samples_per_s, _count),
        "efficiency %": _percent(outlook.efficiency(row)),
        f"s to {goal(target)}": _bounded(row.time_s, _brief),
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
        "error %": _signed(check.speed_error),
        "step ms": _ms(measured.step_s),
        "step predicted": _ms(predicted and predicted.parts.step_s),
        "step error %": _signed(check.step_error),
        f"s to {goal(target)}": seconds(time.median) if time and time.median else NOT_MEASURED,
        "s predicted": _bounded(predicted and predicted.time_s, _brief),
        "s error %": _signed(check.time_error),
    }


def _bounded(figure: Figure | None, show: Callable[[float], str]) -> str:
    if figure is None:
        return NOT_MEASURED
    if figure.low is None and figure.high is None:
        return f"{show(figure.value)} ({NOT_MEASURED})"
    low = show(figure.low or 0.0)
    return f"{show(figure.value)} ({low}–{'∞' if figure.high is None else show(figure.high)})"


def _percent(share: float | None) -> str:
    return NOT_MEASURED if share is None else f"{100 * share:.0f}"


def _signed(error: float | None) -> str:
    return NOT_MEASURED if error is None else f"{100 * error:+.0f}"


def _ratio(value: float) -> str:
    return f"{value:.2f}"


def _brief(value: float) -> str:
    return f"{value:.3g}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _ms(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{1000 * value:.3g}"


def _values(report: ScalingReport) -> dict[str, Any]:
    """A report in full precision, times in seconds."""
    return {
        "configuration": report.family.name,
        "target_accuracy": report.target,
        "verdicts": verdict_lines(report),
        "check": check_line(report),
        **_rows(report),
        "model": _model_values(report),
        "notes": scaling_notes(report),
    }


def _csv_rows(report: ScalingReport) -> list[dict[str, Any]]:
    lead = {"configuration": report.family.name, "target_accuracy": report.target}
    return [{"table": name} | lead | row for name, rows in _rows(report).items() for row in rows]


def _rows(report: ScalingReport) -> dict[str, list[dict[str, Any]]]:
    """The rows of all tables; figures and other parts are mappings of their own."""
    return {
        "measured": [_measured_values(row) for row in report.measured],
        "gains": [
            _setup_values(row.setup)
            | {"base_threads": gain.base.num_threads}
            | _plain(gain, without=("base", "base_step_s"))
            | {"efficiency": gain.efficiency, "time_efficiency": gain.time_efficiency}
            for row in report.measured
            for gain in row.gains
        ],
        "held_out": [_check_values(check) for check in report.checks],
        "predicted": [
            _plain(outlook, without=("rows",))
            | _predicted_values(row)
            | {"efficiency": outlook.efficiency(row)}
            for outlook in report.outlooks
            for row in outlook.rows
        ],
    }


def _measured_values(row: Measured) -> dict[str, Any]:
    counts = {"n": len(row.setup.runs), "timed": len(row.setup.timed)}
    unstable = {"unstable_runs": sum(map(is_unstable, row.setup.timed))}
    return _setup_values(row.setup) | counts | unstable | _plain(row, without=("setup", "gains"))


def _setup_values(setup: Setup) -> dict[str, Any]:
    names = ("num_processes", "num_machines", "num_threads", "global_batch_size")
    return {name: getattr(setup, name) for name in names} | {"link": _value(setup.link)}


def _check_values(check: Check) -> dict[str, Any]:
    errors = ("speed_error", "step_error", "time_error")
    predicted = _predicted_values(check.predicted) if check.predicted else {}
    return (
        {"held_out_by": check.reason}
        | _setup_values(check.measured.setup)
        | predicted
        | {name: getattr(check, name) for name in errors}
    )


def _predicted_values(row: Predicted) -> dict[str, Any]:
    setting = {name: _value(value) for name, value in asdict(row.setting).items()}
    parts = {"step_s": row.parts.step_s, **row.parts._asdict()}
    return setting | parts | _plain(row, without=("setting", "parts"))


def _model_values(report: ScalingReport) -> dict[str, Any] | None:
    """The fitted parameters; ``None`` without a fit."""
    if report.predictor is None:
        return None
    fit, steps = report.predictor.fit, report.predictor.steps
    return {
        "fitted_on": [f"{s.shape}, batch {s.global_batch_size}" for s in report.predictor.setups],
        **asdict(fit.model),
        "residual": fit.residual,
        "free_figures": fit.num_free,
        "min_steps": steps.curve and steps.curve[0],
        "noise_batch": steps.noise_batch,
        "assumptions": fit.assumptions,
    }


def _plain(row: NamedTuple, *, without: Sequence[str]) -> dict[str, Any]:
    return {k: _value(v) for k, v in row._asdict().items() if k not in without}


def _value(value: Any) -> Any:
    """`value` as JSON has it: figures and what records hold by their names."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    return value._asdict() if hasattr(value, "_asdict") else value
