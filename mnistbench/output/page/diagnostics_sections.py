"""Sections on why runs are as fast as they are: step costs, the roofline, operators, telemetry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from mnistbench.analysis.bottleneck import limits_line
from mnistbench.analysis.grouping import identify
from mnistbench.analysis.number_text import NOT_MEASURED, ms
from mnistbench.analysis.repeats import seed_text
from mnistbench.output.charts.roofline import RooflinePoint, roofline_picture
from mnistbench.output.charts.stacked_bars import Stack, step_picture
from mnistbench.output.page.parts import Section, Table
from mnistbench.output.page.report_data import ReportRow, Subject
from mnistbench.output.profile_table import operator_rows, profile_line
from mnistbench.schema.insight import StepCosts, StepWork, Telemetry
from mnistbench.schema.record import RunRecord

_MOST_PROFILES = 8


def step_section(subject: Subject) -> Section | None:
    """What limits the steps of diagnosed runs; ``None`` where none was."""
    middle = {row.name: run for row in subject.rows if (run := _middle(row.runs))}
    if not middle:
        return None
    costs = {name: run.step_costs for name, run in middle.items() if run.step_costs}
    machines = {row.name: str(identify(row.runs)["device"]) for row in subject.rows}
    works = {name: work for name, cost in costs.items() if (work := cost.work)}
    roofline = roofline_picture(
        [RooflinePoint(k, machines[k], work, subject.places[k]) for k, work in works.items()]
    )
    return Section(
        key="steps",
        title="What limits a step",
        lead="Where the time of a step goes, and how near it comes to what the machine can do.",
        said=[f"{name}: {why}." for name, run in middle.items() if (why := limits_line(run))],
        pictures=[
            step_picture([_stack(name, cost) for name, cost in costs.items()]),
            *([roofline] if roofline else []),
        ],
        tables=[Table(rows=_known([_cost_cells(*one) for one in costs.items()]))],
        notes=[
            "of several seeds, the run of the median step is shown",
            *{
                machines[name]: _ceilings_note(machines[name], work) for name, work in works.items()
            }.values(),
        ],
    )


def _middle(runs: Sequence[RunRecord]) -> RunRecord | None:
    """The diagnosed run whose step is the median one."""
    told = sorted((r.step_costs.step_s, i) for i, r in enumerate(runs) if r.step_costs)
    return runs[told[(len(told) - 1) // 2][1]] if told else None


def _stack(name: str, costs: StepCosts) -> Stack:
    parts = {
        "loader": costs.loader_s,
        "communication": costs.communication_s or 0.0,
        "calls": costs.overhead_s or 0.0,
        "arithmetic": costs.arithmetic_s or 0.0,
        "memory traffic": costs.traffic_s or 0.0,
    }
    rest = max(0.0, costs.step_s - sum(parts.values()))
    shown = {part: 1000 * value for part, value in (parts | {"other": rest}).items()}
    return Stack(name, shown, 1000 * costs.step_s)


def _cost_cells(name: str, costs: StepCosts) -> dict[str, str]:
    times = (costs.step_s, costs.loader_s, costs.communication_s, costs.overhead_s)
    told = ("step", "loader", "communication", "calls", "arithmetic", "traffic")
    each = zip(told, (*times, costs.arithmetic_s, costs.traffic_s), strict=True)
    cells = {"run": name} | {f"{part} ms": ms(value) for part, value in each}
    if not (work := costs.work):
        return cells | dict.fromkeys(("flop/byte", "Gflop/s", "of peak %"), NOT_MEASURED)
    speed = work.flops / work.step_s
    share = 100 * speed / work.ceilings.matmul_flops_per_s
    intensity = work.flops / work.traffic_bytes if work.traffic_bytes else None
    return cells | {
        "flop/byte": NOT_MEASURED if intensity is None else f"{intensity:,.3g}",
        "Gflop/s": f"{speed / 1e9:,.3g}",
        "of peak %": f"{share:.0f}" if share >= 10 else f"{share:.2g}",
    }


def _ceilings_note(machine: str, work: StepWork) -> str:
    top = work.ceilings
    return (
        f"ceilings of {machine}: {top.matmul_flops_per_s / 1e9:,.3g} Gflop/s, "
        f"{top.copy_bytes_per_s / 1e9:,.3g} GB/s, {top.cached_copy_bytes_per_s / 1e9:,.3g} GB/s in "
        "the cache"
    )


def profile_section(subject: Subject) -> Section | None:
    """What profiled runs spent their steps on; ``None`` where none was profiled."""
    profiled = [
        (f"{row.name}, {seed_text(run)}", run.run_id, run.profile)
        for row in subject.rows
        for run in row.runs
        if run.profile
    ]
    if not profiled:
        return None
    shown = profiled[:_MOST_PROFILES]
    left = len(profiled) - len(shown)
    files = [
        f"{name}, in {run}: {', '.join(seen.files)}" for name, run, seen in shown if seen.files
    ]
    return Section(
        key="operators",
        title="Operators",
        lead="What the operators of profiled steps took by themselves, longest first; the times of "
        "such runs are nobody's measure.",
        said=[f"{name}: {profile_line(seen)}." for name, _, seen in shown],
        tables=[
            Table(title=name, rows=cells)
            for name, _, seen in shown
            if (cells := operator_rows(seen))
        ],
        notes=files + [f"{left} more profiled runs are not shown"] * (left > 0),
    )


def telemetry_section(subject: Subject) -> Section | None:
    """The machine while runs trained; ``None`` where nothing was sampled."""
    rows = [(row, [run.telemetry for run in row.runs if run.telemetry]) for row in subject.rows]
    cells = [_telemetry_cells(row, sampled) for row, sampled in rows if sampled]
    if not cells:
        return None
    return Section(
        key="telemetry",
        title="Telemetry",
        lead="The main process's machine while runs trained, sampled between timed windows.",
        tables=[Table(rows=_known(cells))],
        notes=["peaks are the highest of all seeds, all else is their mean"],
    )


_MEANS: Mapping[str, tuple[Callable[[Telemetry], float | None], float, str]] = {
    "cores used": (lambda t: t.cores_used, 1, ".2f"),
    "others' cores before": (lambda t: t.others_cores_before, 1, ".2f"),
    "others' cores during": (lambda t: t.others_cores_during, 1, ".2f"),
    "load": (lambda t: t.load_average_1min, 1, ".2f"),
    "CPU GHz": (lambda t: t.cpu_clock_hz, 1e9, ".2f"),
    "CPU °C": (lambda t: t.cpu_temperature_c, 1, ".0f"),
    "CPU J": (lambda t: t.cpu_energy_j, 1, ".0f"),
    "GPU busy %": (lambda t: t.gpu_utilization, 0.01, ".0f"),
    "GPU GHz": (lambda t: t.gpu_clock_hz, 1e9, ".2f"),
    "GPU W": (lambda t: t.gpu_power_w, 1, ".0f"),
    "GPU J": (lambda t: t.gpu_energy_j, 1, ".0f"),
}
"""Columns that are means: how each is read, its unit, and its form."""

_PEAKS: Mapping[str, tuple[Callable[[Telemetry], float | None], float, str]] = {
    "memory peak MiB": (lambda t: t.rss_peak_bytes, 2**20, ",.0f"),
    "device memory peak MiB": (lambda t: t.device_memory_peak_bytes, 2**20, ",.0f"),
    "GPU peak °C": (lambda t: t.gpu_temperature_c, 1, ".0f"),
}


def _telemetry_cells(row: ReportRow, sampled: Sequence[Telemetry]) -> dict[str, str]:
    found = {"run": row.name}
    for columns, together in ((_MEANS, fmean), (_PEAKS, max)):
        for name, (read, unit, form) in columns.items():
            known = [value for one in sampled if (value := read(one)) is not None]
            found[name] = format(together(known) / unit, form) if known else NOT_MEASURED
    reasons = {reason for one in sampled for reason in one.gpu_throttle_reasons or ()}
    return found | {"GPU throttled by": ", ".join(sorted(reasons)) or NOT_MEASURED}


def _known(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """`rows` without the columns in which nothing was measured."""
    kept = [name for name in rows[0] if any(row[name] != NOT_MEASURED for row in rows)]
    return [{name: row[name] for name in kept} for row in rows]
