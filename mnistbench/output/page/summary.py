"""The sections that every page begins with: what each row reached, and how fast."""

from __future__ import annotations

from mnistbench.analysis.number_text import goal
from mnistbench.analysis.stability import mark_notes, time_mark
from mnistbench.analysis.target_score import score_target
from mnistbench.output.charts.time_pictures import TimedRow, time_picture
from mnistbench.output.fitted_table import split_shared
from mnistbench.output.number_format import (
    notes,
    run_cells,
    target_cells,
    target_notes,
    with_target_in_head,
)
from mnistbench.output.page.parts import Section, Table
from mnistbench.output.page.report_data import Subject

__all__ = ["summary_section", "time_section"]


def summary_section(subject: Subject) -> Section:
    """The main table: a row for each group."""
    cells = [run_cells(row.runs, subject.options.references) for row in subject.rows]
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
        notes=notes([row.runs for row in subject.rows], subject.options.references),
    )


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
            if (
                picture := time_picture(
                    [TimedRow(row.name, s.time_s, time_mark(row.runs)) for row, s in rows],
                    target,
                    subject.places,
                )
            )
        ],
        tables=[
            Table(
                title=f"To {goal(target)}",
                rows=[
                    {"run": row.name} | target_cells(s, mark=time_mark(row.runs)) for row, s in rows
                ],
            )
            for target, rows in scored.items()
        ],
        notes=[
            *target_notes([(row.runs, t) for t, rows in subject.scored.items() for row in rows]),
            "expected s is all time spent for each success, failures started again",
            *mark_notes([row.runs for row in subject.timed]),
        ],
    )
