"""Records as rows, rows as text: terminal table, Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mnistbench.analysis.bottleneck import limits_notes
from mnistbench.analysis.free_metrics import free_metrics, scored_at
from mnistbench.analysis.grouping import (
    accuracy_by_epoch,
    group_labels,
    group_runs,
)
from mnistbench.analysis.metrics import METRICS, score_target
from mnistbench.analysis.number_text import NOT_MEASURED, goal
from mnistbench.analysis.rules import rule_notes, score_rules
from mnistbench.analysis.stability import mark_notes, time_mark
from mnistbench.output.export import epoch_rows, export_rows, rule_rows
from mnistbench.output.fitted_table import Rows, unexpected
from mnistbench.output.number_format import (
    level_text,
    run_cells,
    score_cells,
    target_cells,
    told_columns,
    with_target_in_head,
)
from mnistbench.output.row_names import name_columns, split_names
from mnistbench.output.screen import WIDE, Screen, plain_table
from mnistbench.output.table_notes import RANGE_NOTE, notes, target_notes
from mnistbench.schema.errors import InputError
from mnistbench.schema.escaping import csv_cell
from mnistbench.schema.record import RunRecord
from mnistbench.schema.reference import ReferenceCurve

_TAKEN = ("dataset", "reached", "steps", "rule", "clock", "aggregate", "n", "remark")
TableFormat = Literal["table", "markdown", "csv", "json"]


def render_runs(
    records: Sequence[RunRecord],
    *,
    table_format: TableFormat,
    per_run: bool = False,
    references: Sequence[ReferenceCurve] = (),
    screen: Screen = WIDE,
) -> str:
    """A row for each group of `records` (see `group_runs`), or for each run with `per_run`.

    Each figure is estimated as its `Metric` says, with its spread and n. Runs that train in the way
    of one of `references` are held to its band; a note names the recipes that none could check.
    """
    groups = [[record] for record in records] if per_run else group_runs(records)
    if table_format in {"json", "csv"}:
        return data_text(export_rows(groups, per_run=per_run, references=references), table_format)
    names, rows = summary_cells(records, references, per_run=per_run)
    below = [*notes(groups, references), *_limits(groups)]
    shown = screen.in_format(table_format)
    return shown.table(unexpected(rows), names=names, notes=below)


def run_lines(
    records: Sequence[RunRecord], width: float
) -> tuple[list[str], list[str], list[str], list[str]]:
    """The table of `render_runs` as lines: its head, its rows, what is left out, and the notes."""
    groups, screen = group_runs(records), Screen(width)
    names, rows = summary_cells(records, ())
    fitted = screen.fit(unexpected(rows), names=names)
    lines = plain_table(fitted.rows).splitlines() if fitted.rows else list(fitted.lines)
    cut = next((k + 1 for k, line in enumerate(lines) if not line.strip("- ")), 0)
    head = [*fitted.above.splitlines(), *lines[:cut]]
    left_out = fitted.below.partition(";")[0]  # the view that this is for has no --wide
    below = fitted.told([*notes(groups, ()), *_limits(groups)])
    told = "\n".join(map(screen.text, below))
    return head, lines[cut:], screen.text(left_out).splitlines(), told.splitlines()


def _limits(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """What limits steps; of several rows that only wait for data a column says it."""
    told = [g for g in groups if len(groups) == 1 or any(run.step_costs for run in g)]
    return limits_notes(told) if told else []


def summary_cells(
    records: Sequence[RunRecord], references: Sequence[ReferenceCurve], *, per_run: bool = False
) -> tuple[list[str], list[dict[str, str]]]:
    """The columns that name rows of the table of `render_runs`, and its rows."""
    groups, runs = group_runs(records), [[record] for record in records]
    metrics, rows_of = free_metrics(groups), runs if per_run else groups
    cells = told_columns([run_cells(g, references, metrics=metrics) for g in rows_of], groups)
    named = name_columns(groups, taken=cells[0])
    if per_run:
        of = {id(r): n for n, g in zip(named, groups, strict=True) for r in g}
        seeds = {id(r): NOT_MEASURED if r.seed is None else str(r.seed) for r in records}
        named = [{"run": r.run_id, "seed": seeds[id(r)]} | of[id(r)] for r in records]
    rows = [name | its for name, its in zip(named, cells, strict=True)]
    return list(named[0]), with_target_in_head(rows)


def render_targets(
    records: Sequence[RunRecord],
    targets: Sequence[float],
    *,
    table_format: TableFormat,
    screen: Screen = WIDE,
) -> str:
    """The stored curves scored again: a row for each group and each of `targets`.

    Median time and steps to the target with their 95 % intervals, how many runs got there, and the
    expected time with failures counted. Runs that evaluate no accuracy are left out.

    Raises:
        InputError: no run does.
    """
    groups = [group for group in group_runs(records) if scored_at(group, targets)]
    if not groups:
        raise InputError("targets: no run evaluated an accuracy; see `report rules`")
    if table_format in {"json", "csv"}:
        return data_text(export_rows(groups, targets=targets), table_format)
    scored = [
        (group, name, target, score_target(group, target))
        for group, name in zip(groups, _leads(groups), strict=True)
        for target in targets
    ]
    rows = [
        name | {"target": goal(t)} | target_cells(s, mark=time_mark(g, to_target=True))
        for g, name, t, s in scored
    ]
    below = [*target_notes([(g, t) for g, _, t, _ in scored]), *mark_notes(groups, to_target=True)]
    shown = screen.in_format(table_format)
    return shown.table(unexpected(rows), names=scored[0][1], notes=below)


def render_rules(
    records: Sequence[RunRecord],
    targets: Sequence[float],
    *,
    table_format: TableFormat,
    screen: Screen = WIDE,
) -> str:
    """The stored curves scored by the rules of each benchmark: a row for each group, target, rule.

    Without `targets`, each group is scored at the one that it was run with.

    Raises:
        InputError: there is neither.
    """
    groups = group_runs(records)
    scored = [
        (group, name, target, score)
        for group, name in zip(groups, _leads(groups), strict=True)
        for target in scored_at(group, targets)
        for score in score_rules(group, target)
    ]
    if not scored:
        raise InputError("rules: no run has a target; give one, such as --targets 0.97")
    if table_format in {"json", "csv"}:
        return data_text(rule_rows(groups, targets), table_format)
    rows = [
        name | {"target": goal(t)} | score_cells(s, mark=time_mark(g, to_target=not s.source))
        for g, name, t, s in scored
    ]
    below = [*mark_notes(groups), *rule_notes(score for *_, score in scored)]
    shown = screen.in_format(table_format)
    return shown.table(unexpected(rows), names=scored[0][1], notes=below)


def render_epochs(
    records: Sequence[RunRecord], *, table_format: TableFormat, screen: Screen = WIDE
) -> str:
    """Accuracy on the eval split after each whole epoch: a row per epoch, a column per group.

    CSV and JSON have a row for each pair (`mnistbench.output.export`).

    Raises:
        InputError: no run was evaluated after a whole epoch.
    """
    groups = group_runs(records)
    labels = group_labels(groups)
    found = {
        (epoch, label): level
        for label, group in zip(labels, groups, strict=True)
        for epoch, level in accuracy_by_epoch(group).items()
    }
    if not found:
        raise InputError("epochs: no run was evaluated after a whole epoch; see report targets")
    if table_format in {"json", "csv"}:
        return data_text(epoch_rows(groups), table_format)
    metric = METRICS["val_accuracy"]
    cells = {key: level_text(level, metric) for key, level in found.items()}
    shared, heads = _split_labels(labels)
    rows = [
        {"epoch": str(epoch)}
        | dict(zip(heads, (cells.get((epoch, x), NOT_MEASURED) for x in labels), strict=True))
        for epoch in sorted({epoch for epoch, _ in found})
    ]
    below = [RANGE_NOTE] * any(level.n > 1 for level in found.values())
    shown = screen.in_format(table_format)
    table = shown.table(unexpected(rows), names=["epoch"], notes=below)
    return shown.end.join([shown.text(f"all columns: {shared}"), table]) if shared else table


def _split_labels(labels: Sequence[str]) -> tuple[str, list[str]]:
    """What all columns share, if their data and n are the same, and the head of each."""
    names, _, data = zip(*(label.rpartition(" on ") for label in labels), strict=True)
    if len(labels) == 1 or len(set(data)) > 1:
        return "", list(labels)
    shared, heads = split_names(names)
    return f"{shared} on {data[0]}".strip(), heads


def render_table(rows: Rows, table_format: TableFormat) -> str:
    """All of `rows` (column -> text) as plain text or as Markdown."""
    return WIDE.in_format(table_format).table(rows)


def data_text(values: Sequence[Mapping[str, Any]], table_format: TableFormat) -> str:
    """`values`, a mapping for each row, as JSON or, with the parts of each in columns, as CSV."""
    if table_format == "json":
        return json.dumps(values, indent=1, allow_nan=False)
    rows = [_flat(row) for row in values]
    text = io.StringIO()
    columns = dict.fromkeys(key for row in rows for key in row)
    writer = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def _leads(groups: Sequence[Sequence[RunRecord]]) -> list[dict[str, str]]:
    """What each group is called, and its data."""
    data = (group[0].dataset for group in groups)
    named = zip(name_columns(groups, taken=_TAKEN), data, strict=True)
    return [name | {"dataset": its.name if its else NOT_MEASURED} for name, its in named]


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}_{part}": inner for part, inner in value.items()}
        else:
            flat[key] = " ".join(map(str, value)) if isinstance(value, list) else value
    return {csv_cell(k): csv_cell(v) if isinstance(v, str) else v for k, v in flat.items()}
