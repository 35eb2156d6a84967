"""What suites found, as tables below pytest-benchmark's own and as files.

A suite adds rows to a section; a section keeps the text of each cell and the figures behind it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from mnistbench.analysis.grouping import identify, run_name
from mnistbench.analysis.metrics import METRICS, MetricName, told_target
from mnistbench.analysis.number_text import NOT_MEASURED
from mnistbench.analysis.number_text import goal as goal_text
from mnistbench.analysis.stability import is_unstable, mark_notes, time_mark
from mnistbench.output.charts.figure import plot_curves
from mnistbench.output.number_format import counted_text, level_text
from mnistbench.output.tables import render_table
from mnistbench.schema.escaping import markdown
from mnistbench.schema.files import write_whole
from mnistbench.schema.record import DATA_WAIT, RunRecord
from mnistbench.schema.target import is_lower_better
from mnistbench.stats.readings import Reading

__all__ = ["Section", "SuiteReport", "add_runs", "run_info"]


@dataclass
class Section:
    """A table, its notes, and the runs that its pictures are of; `is_last`: below all others."""

    title: str
    is_last: bool = False
    rows: list[Mapping[str, str]] = field(default_factory=list)
    figures: list[Mapping[str, Any]] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    pictures: dict[str, list[RunRecord]] = field(default_factory=dict)

    def add(self, row: Mapping[str, str], **figures: Any) -> None:
        """Add a row of cells and the figures that the JSON report gives for it."""
        self.rows.append(row)
        self.figures.append(figures)

    def note(self, text: str) -> None:
        """Say `text` once below the table."""
        self.notes[text] = None

    def table(self) -> list[dict[str, str]]:
        """The rows, each with every column."""
        columns = dict.fromkeys(name for row in self.rows for name in row)
        return [{name: row.get(name, NOT_MEASURED) for name in columns} for row in self.rows]


class SuiteReport:
    """Sections by title, in the order in which suites first wrote to them."""

    def __init__(self) -> None:
        self._sections: dict[str, Section] = {}

    def section(self, title: str, *, is_last: bool = False) -> Section:
        """The section called `title`, new or already begun."""
        return self._sections.setdefault(title, Section(title, is_last))

    def sections(self) -> list[Section]:
        """All sections that have rows."""
        filled = [section for section in self._sections.values() if section.rows]
        return sorted(filled, key=lambda section: section.is_last)

    def write(self, folder: Path) -> Path:
        """Write ``report.md``, ``report.json`` and a picture for each set of curves.

        Returns the path of ``report.md``.

        Raises:
            InputError: the folder cannot be written.
        """
        sections, path = self.sections(), folder / "report.md"
        write_whole(path, "\n".join(map(_markdown, sections)))
        values = {section.title: section.figures for section in sections}
        write_whole(folder / "report.json", json.dumps(values, indent=1, allow_nan=False) + "\n")
        for section in sections:
            for name, records in section.pictures.items():
                plot_curves(records, folder / f"{name}.png", accuracy_only=True)
        return path


def add_runs(report: SuiteReport, name: str, records: Sequence[RunRecord]) -> None:
    """Add what runs of one configuration say to the tables on speed, time to target, convergence.

    Runs without a target are in no row of the second, those without evaluations in none of the
    third.
    """
    row = identify(records)
    head = {"benchmark": name} | ({"dataset": row["dataset"]} if row["dataset"] else {})
    ends = {"n": str(len(records))}
    ends |= {} if row["status"] == "completed" else {"status": row["status"]}
    speed = {"device": row["device"]} | _cells(
        records, {"samples/s": "samples_per_s", "step ms p50": "step_s_p50"}
    )
    goal = {"target": target_text(records[0])} | _cells(
        records, {"s to target": "time_to_accuracy_s", "steps": "steps_to_accuracy"}
    )
    found = {
        "throughput": speed | _data_wait(records),
        "time to target": goal if goal["target"] != NOT_MEASURED else {},
        "convergence": _curve(records),
    }
    marked = mark_notes([records])
    for title, cells in found.items():
        if cells:
            section = report.section(title)
            section.add({**head, **cells, **ends}, **{"benchmark": name} | run_info(records))
            for note in (*_NOTES[title], *(marked if title != "convergence" else ())):
                section.note(note)


_NOTES = {
    "throughput": ("mean ± half the width of the 95 % interval over n runs",),
    "time to target": (
        "train clock; median over seeds (95 % interval), and how many of several got there",
        "a time to a target is known to the spacing of its evaluations",
    ),
    "convergence": ("of completed runs: median over seeds (smallest–largest)",),
}


def run_info(records: Sequence[RunRecord]) -> dict[str, Any]:
    """What ``extra_info`` says of runs that differ in their seed: the estimate of each metric."""
    first, row = records[0], identify(records)

    def estimate(name: MetricName) -> float | None:
        return METRICS[name].of(records).value

    return {
        "recipe": first.recipe.name if first.recipe else None,
        "model": None if first.is_foreign else first.config["model"],
        "loss": None if first.is_foreign else first.config["loss"],
        "name": run_name(first),
        "dataset": row["dataset"],
        "device": row["device"],
        "samples_per_s": estimate("samples_per_s"),
        "test_accuracy": estimate("test_accuracy"),
        "time_to_accuracy_s": estimate("time_to_accuracy_s"),
        "target_accuracy": told_target(records),
        "target": target_text(first),
        "metrics": first.metrics,
        "global_batch_size": row["global_batch_size"],
        "num_steps": first.num_steps,
        "unstable_runs": sum(map(is_unstable, records)),
        "run_ids": row["run_ids"],
    }


def target_text(record: RunRecord) -> str:
    """The target of a run, such as ``97 %`` or ``perplexity ≤ 30``; a dash where it has none."""
    target, accuracy = record.target, told_target([record])
    if target is None or target.metric == "accuracy":
        value = target.value if target else accuracy
        return NOT_MEASURED if value is None else goal_text(value)
    return f"{target.metric} {'≥' if target.higher_is_better else '≤'} {target.value:g}"


def _cells(records: Sequence[RunRecord], columns: Mapping[str, MetricName]) -> dict[str, str]:
    """Each metric of `records` with its spread, and the marks of what spoils a time."""
    cells = {name: counted_text(METRICS[k].of(records), METRICS[k]) for name, k in columns.items()}
    mark = time_mark(records)
    timed = {name for name, k in columns.items() if METRICS[k].timed}
    return {k: v + mark * (k in timed and v != NOT_MEASURED) for k, v in cells.items()}


def _data_wait(records: Sequence[RunRecord]) -> dict[str, str]:
    """The median share of the train clock that waited for the loader, where that was told apart."""
    told = [r.phases_s[DATA_WAIT] / r.train_s for r in records if r.phases_s.get(DATA_WAIT)]
    return {"waits for data": f"{100 * median(told):.0f} %"} if told else {}


def _curve(records: Sequence[RunRecord]) -> dict[str, str]:
    """The best and the last value of the metric that steers; empty where none was evaluated."""
    runs = [record for record in records if record.status == "completed"]
    steering = [[p for p in r.eval_points if p.split == r.eval_split] for r in runs]
    name, lower = _steering_metric(records[0])
    curves = [[v for p in its if (v := p.value_of(name)) is not None] for its in steering]
    if not curves or not all(curves):
        return {}
    metric = METRICS["val_accuracy"]
    if name != "accuracy":
        metric = replace(metric, scale=1.0, digits=".4g")

    def text(values: Iterable[float]) -> str:
        return level_text(metric.level([Reading.of(value) for value in values]), metric)

    what = f"{records[0].eval_split} {name}" + " %" * (name == "accuracy")
    best = map(min if lower else max, curves)
    return {"metric": what, "best": text(best), "last": text(curve[-1] for curve in curves)}


def _steering_metric(record: RunRecord) -> tuple[str, bool]:
    """The metric of the target, else accuracy, loss or the first that was evaluated.

    And whether less of it is better.
    """
    if record.target:
        return record.target.metric, not record.target.higher_is_better
    point = next((p for p in record.eval_points if p.split == record.eval_split), None)
    names = [n for n in ("accuracy", "loss") if point and point.value_of(n) is not None]
    name = next(iter([*names, *(point.metrics if point else ())]), "accuracy")
    return name, is_lower_better(name)


def _markdown(section: Section) -> str:
    pictures = [f"\n![{name}]({name}.png)" for name in section.pictures]
    notes = [f"\n{markdown(note)}" for note in section.notes]
    table = render_table(section.table(), "markdown")
    return "\n".join([f"## {section.title}\n", table, *notes, *pictures, ""])
