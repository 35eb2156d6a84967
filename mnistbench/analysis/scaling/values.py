"""Scaling reports as rows of full precision, for JSON and CSV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mnistbench.analysis.scaling.gains import Gain, Measured
from mnistbench.analysis.scaling.prediction import Figure, Outlook, Predicted
from mnistbench.analysis.scaling.setups import Setup
from mnistbench.analysis.scaling.study import Check, ScalingReport
from mnistbench.analysis.stability import is_unstable
from mnistbench.schema.record import Link

__all__ = ["held_out_values", "measured_values", "model_values", "predicted_values"]


def measured_values(report: ScalingReport) -> list[dict[str, Any]]:
    """A row for each setup and each way to compare it with one process."""
    return [
        _measured(row) | _gain(gain, row.setup.num_processes)
        for row in report.measured
        for gain in row.gains or (None,)
    ]


def model_values(report: ScalingReport) -> dict[str, Any] | None:
    """The fitted parameters, in the units that their names end in; ``None`` without a fit."""
    predictor = report.predictor
    if predictor is None:
        return None
    model, steps = predictor.fit.model, predictor.steps
    return {
        "fitted_on": [f"{s.shape}, batch {s.global_batch_size}" for s in predictor.setups],
        "compute_fixed_s": model.fixed_s,
        "compute_per_sample_s": model.per_sample_s,
        "thread_power": model.thread_power,
        "exchange_call_s": model.call_s,
        "exchange_link_share": model.link_share,
        "exchange_bytes": model.num_bytes,
        "wait_share": model.wait_share,
        "residual": predictor.fit.residual,
        "free_figures": predictor.fit.num_free,
        "min_steps": steps.min_steps,
        "noise_batch": steps.noise_batch,
        "assumptions": predictor.fit.assumptions,
    }


def predicted_values(report: ScalingReport) -> list[dict[str, Any]]:
    """A row for each process count of each outlook."""
    return [_outlook(outlook, row) for outlook in report.outlooks for row in outlook.rows]


def held_out_values(report: ScalingReport) -> list[dict[str, Any]]:
    """A row for each setup that was held out: predicted beside measured, with relative errors."""
    return [_check(check) for check in report.checks]


def _setup(setup: Setup) -> dict[str, Any]:
    return {
        "num_processes": setup.num_processes,
        "num_machines": setup.num_machines,
        "num_threads": setup.num_threads,
        "global_batch_size": setup.global_batch_size,
        **_link(setup.link),
    }


def _link(link: Link | None) -> dict[str, float | None]:
    return {
        "link_latency_s": link.latency_s if link else None,
        "link_bandwidth_bytes_per_s": link.bandwidth_bytes_per_s if link else None,
    }


def _measured(row: Measured) -> dict[str, Any]:
    speed, time, split = row.samples_per_s, row.time_s, row.split
    parts = ("compute_s", "communication_s", "wait_s", "skew_s", "slowest_process")
    return _setup(row.setup) | {
        "n": len(row.setup.runs),
        "timed": len(row.setup.timed),
        "unstable_runs": sum(map(is_unstable, row.setup.timed)),
        "samples_per_s": speed and speed.mean,
        "samples_per_s_half_width": speed and speed.half_width,
        "step_s": row.step_s,
        "time_to_accuracy_s": time and time.median,
        "time_to_accuracy_s_low": time and time.low,
        "time_to_accuracy_s_high": time and time.high,
        "steps_to_accuracy": row.steps.median,
        "steps_to_accuracy_low": row.steps.low,
        "steps_to_accuracy_high": row.steps.high,
        "reached": row.steps.reached,
        **{name: split and getattr(split, name) for name in parts},
    }


def _gain(gain: Gain | None, num_processes: int) -> dict[str, Any]:
    speed, time = (gain.speed, gain.time) if gain else (None, None)
    return {
        "scaling": gain and gain.scaling,
        "base_threads": gain and gain.base.num_threads,
        "base_batch_size": gain and gain.base.global_batch_size,
        **_figure("speed_up", speed),
        "efficiency": speed and speed.value / num_processes,
        **_figure("time_speed_up", time),
        "time_efficiency": time and time.value / num_processes,
        **_figure("hardware_factor", gain and gain.hardware),
        **_figure("statistical_factor", gain and gain.steps),
    }


def _outlook(outlook: Outlook, row: Predicted) -> dict[str, Any]:
    first, processes = outlook.rows[0], row.setting.num_processes
    return {
        "scaling": outlook.scaling,
        "base_batch_size": outlook.base_batch,
        "num_processes": processes,
        "num_threads": row.setting.num_threads,
        "global_batch_size": row.setting.global_batch_size,
        **_link(row.setting.link),
        **_predicted(row),
        "efficiency": row.samples_per_s.value / first.samples_per_s.value / processes,
        "useful_processes": outlook.useful,
        "useful_processes_low": outlook.useful_low,
        "useful_processes_high": outlook.useful_high,
    }


def _predicted(row: Predicted) -> dict[str, Any]:
    return {
        **_figure("samples_per_s", row.samples_per_s),
        "step_s": row.parts.step_s,
        **row.parts._asdict(),
        "steps_to_accuracy": row.steps,
        **_figure("time_to_accuracy_s", row.time_s),
    }


def _check(check: Check) -> dict[str, Any]:
    measured = _measured(check.measured)
    compared = ("samples_per_s", "step_s", "time_to_accuracy_s", "steps_to_accuracy")
    predicted: Mapping[str, Any] = _predicted(check.predicted) if check.predicted else {}
    return _setup(check.measured.setup) | {
        **{f"measured_{name}": measured[name] for name in compared},
        **{f"predicted_{name}": value for name, value in predicted.items()},
        "samples_per_s_error": check.speed_error,
        "step_s_error": check.step_error,
        "time_to_accuracy_s_error": check.time_error,
    }


def _figure(name: str, figure: Figure | None) -> dict[str, Any]:
    value, low, high = figure or (None, None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}
