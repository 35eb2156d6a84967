"""Records as rows, rows as text: terminal table, Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tabulate import tabulate

from mnistbench.analysis.bottleneck import limits_notes
from mnistbench.analysis.grouping import (
    accuracy_by_epoch,
    differences,
    group_labels,
    group_runs,
    run_name,
    target_values,
)
from mnistbench.analysis.metrics import METRICS
from mnistbench.analysis.number_text import NOT_MEASURED, goal
from mnistbench.analysis.rules import rule_notes, score_rules
from mnistbench.analysis.stability import mark_notes, time_mark
from mnistbench.analysis.target_score import score_target, told_target
from mnistbench.output.export import epoch_rows, export_rows, rule_rows
from mnistbench.output.number_format import (
    RANGE_NOTE,
    level_text,
    notes,
    run_cells,
    score_cells,
    target_cells,
    target_notes,
)
from mnistbench.schema.errors import InputError
from mnistbench.schema.escaping import brief, csv_cell, markdown, printable
from mnistbench.schema.record import RunRecord
from mnistbench.schema.reference import ReferenceCurve

__all__ = [
    "TableFormat",
    "data_text",
    "render_epochs",
    "render_rules",
    "render_runs",
    "render_table",
    "render_targets",
    "run_lines",
]

TableFormat = Literal["table", "markdown", "csv", "json"]

_OPTIONAL = {"differs in": "", "reference": NOT_MEASURED, "n": "1", "status": "completed"}
"""Columns left out where every row says the same, expected thing."""

_LESS_TOLD = (
    *("reference", "start s", "loop", "epochs", "precision", "batch", "device", "wall s"),
    *("dataset", "test acc %", "n"),
)
"""Columns that a narrow terminal does without, the first of them first."""

_LONGEST = 300
"""Letters of a cell: nobody reads on, and a terminal would be full of it."""

_SPREAD = re.compile(r" (± [\d.,]+|\([\d.,]*–[\d.,∞]*\))")


def render_runs(
    records: Sequence[RunRecord],
    *,
    table_format: TableFormat,
    per_run: bool = False,
    references: Sequence[ReferenceCurve] = (),
) -> str:
    """A row for each group of `records` (see `group_runs`), or for each run with `per_run`.

    Each figure is estimated as its `Metric` says, with its spread and n. Runs that train in the way
    of one of `references` are held to its band; a note names the recipes that none could check.
    """
    groups = [[record] for record in records] if per_run else group_runs(records)
    if table_format in {"json", "csv"}:
        return data_text(export_rows(groups, per_run=per_run, references=references), table_format)
    differing = differences(groups)
    rows = [run_cells(g, text, references) for g, text in zip(groups, differing, strict=True)]
    if per_run:
        told = [{"run": g[0].run_id, "seed": str(g[0].seed)} for g in groups]
        rows = [which | cells for which, cells in zip(told, rows, strict=True)]
    return _table(rows, [*notes(groups, references), *limits_notes(groups)], table_format)


def run_lines(records: Sequence[RunRecord], width: float) -> tuple[list[str], list[str], list[str]]:
    """The table of `render_runs` for a terminal: its head, its rows and the notes below it.

    Where `width` letters are too few for a line, columns are left out, then spreads; where they are
    too few for what matters most, each row takes several lines, and there is no head.
    """
    groups = group_runs(records)
    rows = [run_cells(g, d, ()) for g, d in zip(groups, differences(groups), strict=True)]
    rows = _without(rows, _expected(rows))
    below = [printable(note) for note in (*notes(groups, ()), *limits_notes(groups))]
    fewer = [_without(rows, _LESS_TOLD[:n]) for n in range(len(_LESS_TOLD) + 1)]
    bare = [{name: _SPREAD.sub("", cell) for name, cell in row.items()} for row in fewer[-1]]
    for told in (*fewer, bare):
        lines = render_table(told, "table").splitlines()
        if len(lines[1]) <= width:
            return lines[:2], lines[2:], below
    pairs = [map(printable, pair) for row in fewer[-1] for pair in (*row.items(), ("", ""))]
    return [], tabulate(pairs, tablefmt="plain", disable_numparse=True).splitlines(), below


def render_targets(
    records: Sequence[RunRecord], targets: Sequence[float], *, table_format: TableFormat
) -> str:
    """The stored curves scored again: a row for each group and each of `targets`.

    Median time and steps to the target with their 95 % intervals, how many runs got there, and the
    expected time with failures counted.
    """
    groups = group_runs(records)
    if table_format in {"json", "csv"}:
        return data_text(export_rows(groups, targets=targets), table_format)
    scored = [
        (group, differs, target, target_values(score_target(group, target)))
        for group, differs in zip(groups, differences(groups), strict=True)
        for target in targets
    ]
    rows = [
        _lead(g, d) | {"target": goal(t)} | target_cells(s, mark=time_mark(g))
        for g, d, t, s in scored
    ]
    below = target_notes([(g, t) for g, _, t, _ in scored])
    return _table(rows, [*below, *mark_notes(groups)], table_format)


def render_rules(
    records: Sequence[RunRecord], targets: Sequence[float], *, table_format: TableFormat
) -> str:
    """The stored curves scored by the rules of each benchmark: a row for each group, target, rule.

    Without `targets`, each group is scored at the one that it was run with.

    Raises:
        InputError: there is neither.
    """
    groups = group_runs(records)
    scored = [
        (group, differs, target, score)
        for group, differs in zip(groups, differences(groups), strict=True)
        for target in targets or filter(None, [told_target(group)])
        for score in score_rules(group, target)
    ]
    if not scored:
        raise InputError("rules: no run has a target; give one, such as --targets 0.97")
    if table_format in {"json", "csv"}:
        return data_text(rule_rows(groups, targets), table_format)
    rows = [
        _lead(g, d) | {"target": goal(t)} | score_cells(s, mark=time_mark(g))
        for g, d, t, s in scored
    ]
    told = rule_notes(score for *_, score in scored)
    return _table(rows, [*mark_notes(groups), *told], table_format)


def render_epochs(records: Sequence[RunRecord], *, table_format: TableFormat) -> str:
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
        raise InputError("by_epoch: no run was evaluated after a whole epoch; leave it out")
    if table_format in {"json", "csv"}:
        return data_text(epoch_rows(groups), table_format)
    metric = METRICS["val_accuracy"]
    cells = {key: level_text(level, metric) for key, level in found.items()}
    rows = [
        {"epoch": str(epoch)} | {label: cells.get((epoch, label), NOT_MEASURED) for label in labels}
        for epoch in sorted({epoch for epoch, _ in found})
    ]
    several = any(level.n > 1 for level in found.values())
    return _table(rows, [RANGE_NOTE] * several, table_format)


def render_table(
    rows: Sequence[Mapping[str, str]], table_format: TableFormat, *, longest: int = _LONGEST
) -> str:
    """`rows` (column -> text) for a terminal or as Markdown, with what is in them made harmless.

    A cell ends at `longest` letters, which those of records reach only by mistake or by malice.
    """
    safe = markdown if table_format == "markdown" else printable
    rows = [{safe(k): safe(brief(v, longest)) for k, v in row.items()} for row in rows]
    style = "pipe" if table_format == "markdown" else "simple"
    return tabulate(rows, headers="keys", tablefmt=style, disable_numparse=True)


def data_text(values: Sequence[Mapping[str, Any]], table_format: TableFormat) -> str:
    """`values`, a mapping for each row, as JSON or, with the parts of each in columns, as CSV."""
    if table_format == "json":
        return json.dumps(values, indent=1, allow_nan=False)
    return _csv([_flat(row) for row in values])


def _table(
    rows: Sequence[Mapping[str, str]], below: Sequence[str], table_format: TableFormat
) -> str:
    """`rows` without the columns that need not be said, and the notes `below` them."""
    kept = _without(rows, _expected(rows))
    # a line after a Markdown table would become a row of it
    lines = [
        f"\n{markdown(note)}" if table_format == "markdown" else printable(note) for note in below
    ]
    return "\n".join([render_table(kept, table_format), *lines])


def _expected(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The columns of `rows` that need not be said."""
    told = _OPTIONAL.items()
    return [name for name, text in told if all(row.get(name, text) == text for row in rows)]


def _without(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k not in columns} for row in rows]


def _lead(group: Sequence[RunRecord], differs: str) -> dict[str, str]:
    data = group[0].dataset.name if group[0].dataset else NOT_MEASURED
    return {"recipe": run_name(group[0]), "differs in": differs, "dataset": data}


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}_{part}": inner for part, inner in value.items()}
        else:
            flat[key] = " ".join(map(str, value)) if isinstance(value, list) else value
    return {csv_cell(k): csv_cell(v) if isinstance(v, str) else v for k, v in flat.items()}


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")
