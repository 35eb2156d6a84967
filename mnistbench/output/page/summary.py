"""The sections that every page begins with: what each row reached, and how fast."""

from __future__ import annotations

from collections.abc import Sequence

from mnistbench.analysis.grouping import target_values
from mnistbench.analysis.number_text import NOT_MEASURED, goal
from mnistbench.analysis.stability import mark_notes, time_mark
from mnistbench.analysis.target_score import score_target
from mnistbench.output.charts.rows import MOST_ROWS
from mnistbench.output.charts.time_pictures import TimedRow, time_pictures
from mnistbench.output.number_format import notes, run_cells, target_cells, target_notes
from mnistbench.output.page.parts import Section, Table
from mnistbench.output.page.report_data import Subject

__all__ = ["summary_section", "time_section"]

_SETTINGS = ("dataset", "device", "batch", "precision", "loop", "epochs", "n", "status")
"""Columns that are said once for all rows where they agree."""

_TIME = "time to target"
_UNSAID = {"reference": NOT_MEASURED, "status": "completed", "n": "1"}
"""What need not be said at all of all rows."""


def summary_section(subject: Subject) -> Section:
    """The main table: a row for each group."""
    rows = [
        {"run": row.name} | {k: v for k, v in cells.items() if k not in {"recipe", "differs in"}}
        for row in subject.rows
        for cells in [run_cells(row.runs, "", subject.options.references)]
    ]
    targets = {run.result.target_accuracy for row in subject.rows for run in row.runs}
    rows = _target_in_heading(rows, [target for target in targets if target is not None])
    if all("completed" in row["status"] for row in rows):  # then n says how many of how many
        rows = [row | {"status": "completed"} for row in rows]
    same = _same(rows)
    shown = [{k: v for k, v in row.items() if k not in same} for row in rows]
    told = {k: v for k, v in same.items() if _UNSAID.get(k) != v and v != NOT_MEASURED}
    said = [f"All rows: {', '.join(f'{k} {v}' for k, v in told.items())}."] if told else []
    return Section(
        key="summary",
        title="Summary",
        lead="What each row reached: a row is one configuration, over all seeds that it was run "
        "with.",
        tables=[Table(rows=shown)],
        said=said,
        notes=notes([row.runs for row in subject.rows], subject.options.references),
    )


def _target_in_heading(
    rows: Sequence[dict[str, str]], targets: Sequence[float]
) -> list[dict[str, str]]:
    """`rows` with a target that all of them share told once."""
    if len(targets) != 1:
        return list(rows)
    told = goal(targets[0])
    return [
        {
            (f"time to {told}" if name == _TIME else name): (
                cell.replace(f" to {told}", "") if name == _TIME else cell
            )
            for name, cell in row.items()
        }
        for row in rows
    ]


def _same(rows: Sequence[dict[str, str]]) -> dict[str, str]:
    """Settings that all of several rows share, and columns that hold nothing."""
    first = rows[0]
    same = {name for name in first if len({row[name] for row in rows}) == 1}
    empty = {name for name in same if first[name] == NOT_MEASURED}
    unsaid = {name for name in same if _UNSAID.get(name) == first[name]}
    shared = same & set(_SETTINGS) if len(rows) > 1 else set()
    return {name: first[name] for name in first if name in empty | unsaid | shared}


def time_section(subject: Subject) -> Section | None:
    """Time to each target, fastest rows first; ``None`` where no run has one."""
    scored = {
        target: sorted(
            ((row, score_target(row.runs, target)) for row in rows),
            key=lambda one: (one[1].time_s.median is None, one[1].time_s.median or 0.0),
        )
        for target, rows in subject.scored.items()
    }
    if not scored:
        return None
    return Section(
        key="time",
        title="Time to accuracy",
        lead="Seconds on the train clock until a row read the target, evaluations left out; "
        "runs that never got there count as slower than they were long.",
        pictures=[
            picture
            for target, rows in scored.items()
            for picture in time_pictures(
                [TimedRow(row.name, s.time_s, time_mark(row.runs)) for row, s in rows],
                target,
                subject.places,
            )
        ],
        tables=[
            Table(
                title=f"To {goal(target)}",
                rows=[
                    {"run": row.name} | target_cells(target_values(s), mark=time_mark(row.runs))
                    for row, s in rows
                ],
                folded=len(rows) > MOST_ROWS,
            )
            for target, rows in scored.items()
        ],
        notes=[
            *target_notes([(row.runs, t) for t, rows in subject.scored.items() for row in rows]),
            "expected s is all time spent for each success, failures started again",
            *mark_notes([row.runs for row in subject.timed]),
        ],
    )
