"""What suites found, as tables below pytest-benchmark's own and as files.

A suite adds rows to a section; a section keeps the text of each cell and the figures behind it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnistbench.analysis.bottleneck import data_wait_text
from mnistbench.analysis.free_metrics import evaluated_names, last_value, metric_named
from mnistbench.analysis.grouping import identify, run_name
from mnistbench.analysis.metrics import METRICS
from mnistbench.analysis.number_text import NOT_MEASURED, goal
from mnistbench.analysis.scoring import told_target
from mnistbench.analysis.stability import is_unstable, mark_notes, time_mark
from mnistbench.output.charts.figure import plot_curves
from mnistbench.output.number_format import counted_text, level_text
from mnistbench.output.tables import render_table
from mnistbench.schema.escaping import markdown
from mnistbench.schema.files import write_whole
from mnistbench.schema.record import RunRecord
from mnistbench.stats.readings import Reading


@dataclass
class Section:
    """A table, its notes, and the runs that its pictures and the marks on its times are of.

    One that `is_last` stands below all others.
    """

    title: str
    is_last: bool = False
    rows: list[Mapping[str, str | None]] = field(default_factory=list)
    figures: list[Mapping[str, Any]] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    pictures: dict[str, list[RunRecord]] = field(default_factory=dict)
    marked: list[Sequence[RunRecord]] = field(default_factory=list)

    def add(self, row: Mapping[str, str | None], **figures: Any) -> None:
        """Add a row of cells and the figures that the JSON report gives for it.

        A cell of ``None`` does not apply.
        """
        self.rows.append(row)
        self.figures.append(figures)

    def note(self, text: str) -> None:
        """Say `text` once below the table."""
        self.notes[text] = None

    def lines(self) -> list[str]:
        """The notes below the table."""
        return [*self.notes, *mark_notes(self.marked)]

    def table(self) -> list[dict[str, str]]:
        """The rows, with the columns that apply to one of them at least."""
        columns = dict.fromkeys(k for row in self.rows for k in row)
        told = [k for k in columns if any(row.get(k) is not None for row in self.rows)]
        return [{k: row.get(k) or NOT_MEASURED for k in told} for row in self.rows]


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
    row, target, info = identify(records), told_target(records), run_info(records)
    waits, head = data_wait_text(records), {"benchmark": name, "dataset": row["dataset"]}
    status = None if row["status"] == "completed" else row["status"]
    ends = {"n": str(len(records)), "status": status}
    speeds = {"samples/s": "samples_per_s", "step ms p50": "step_s_p50"}
    times = {"s to target": "time_to_accuracy_s", "steps": "steps_to_accuracy"}
    found = {
        "throughput": {
            "device": row["device"],
            "waits for data": None if waits == NOT_MEASURED else f"{waits} %",
            **_cells(records, speeds),
        },
        "time to target": {"target": goal(target)} | _cells(records, times) if target else {},
        "convergence": _curve(records),
    }
    for title, cells in found.items():
        if cells:
            section = report.section(title)
            section.add({**head, **cells, **ends}, benchmark=name, **info)
            section.marked += [records] * (title != "convergence")
            for note in _NOTES[title]:
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
    first, row, target = records[0], identify(records), told_target(records)
    evaluated = [n for n in evaluated_names(records) if last_value(first, n) is not None]
    told = ("samples_per_s", "test_accuracy", "time_to_accuracy_s")
    return {
        "recipe": first.recipe.name if first.recipe else None,
        "name": run_name(first),
        **{name: row[name] for name in ("model", "loss", "dataset", "device")},
        **{name: METRICS[name].of(records).value for name in told},
        "metrics": {name: metric_named(name, records).of(records).value for name in evaluated},
        "target": goal(target) if target else None,
        "target_accuracy": target and target.accuracy,
        "global_batch_size": row["global_batch_size"],
        "num_steps": first.num_steps,
        "unstable_runs": sum(map(is_unstable, records)),
        "run_ids": row["run_ids"],
    }


def _cells(records: Sequence[RunRecord], columns: Mapping[str, str]) -> dict[str, str]:
    """Each metric of `records` with its spread, and the marks of what spoils a time."""
    found = {name: metric_named(k, records) for name, k in columns.items()}
    cells = {name: counted_text(metric.of(records), metric) for name, metric in found.items()}
    marks = {k: time_mark(records, to_target=its.to_target) for k, its in found.items()}
    return {k: v + marks[k] * (found[k].timed and v != NOT_MEASURED) for k, v in cells.items()}


def _curve(records: Sequence[RunRecord]) -> dict[str, str]:
    """The best and the last value of the target's metric, by default of accuracy or the first.

    Empty where none was evaluated.
    """
    runs = [record for record in records if record.status == "completed"]
    target, names = told_target(records), evaluated_names(runs)
    name = target.metric if target else "accuracy" if "accuracy" in names else "".join(names[:1])
    steering = [[p for p in run.eval_points if p.split == run.eval_split] for run in runs]
    curves = [[v for p in its if (v := p.value_of(name)) is not None] for its in steering]
    if name not in names or not all(curves):
        return {}
    metric = metric_named(name, runs)

    def text(values: Iterable[float]) -> str:
        return level_text(metric.level([Reading.of(value) for value in values]), metric)

    best = map(max if metric.higher_is_better else min, curves)
    split = "" if "/" in name else f"{runs[0].eval_split} "
    what = f"{split}{name}{metric.unit}"
    return {"metric": what, "best": text(best), "last": text(curve[-1] for curve in curves)}


def _markdown(section: Section) -> str:
    pictures = [f"\n![{name}]({name}.png)" for name in section.pictures]
    notes = [f"\n{markdown(note)}" for note in section.lines()]
    table = render_table(section.table(), "markdown")
    return "\n".join([f"## {section.title}\n", table, *notes, *pictures, ""])
