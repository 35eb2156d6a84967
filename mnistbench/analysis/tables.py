"""Records as rows, rows as text: terminal table, Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from tabulate import tabulate

from mnistbench.analysis.groups import (
    accuracy_by_epoch,
    differences,
    group_labels,
    group_runs,
    summarise,
)
from mnistbench.analysis.statistics import Estimate
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord

__all__ = [
    "NOT_MEASURED",
    "TableFormat",
    "render_epochs",
    "render_runs",
    "render_table",
]

TableFormat = Literal["table", "markdown", "csv", "json"]
NOT_MEASURED = "–"


def render_runs(
    records: Sequence[RunRecord], *, table_format: TableFormat, per_run: bool = False
) -> str:
    """A row for each group of `records` (see `group_runs`), or for each run with `per_run`.

    Over several runs a cell is the mean and half the width of its 95 % interval, with n.
    """
    groups = [[record] for record in records] if per_run else group_runs(records)
    if table_format == "json":
        return json.dumps([summarise(group) for group in groups], indent=1, allow_nan=False)
    if table_format == "csv":
        return _csv([_flat(summarise(group)) for group in groups])
    differing = differences(groups)
    rows = [_cells(group, differs) for group, differs in zip(groups, differing, strict=True)]
    dropped = {name for name in _OPTIONAL if all(row[name] == _OPTIONAL[name] for row in rows)}
    kept = [{k: v for k, v in row.items() if k not in dropped} for row in rows]
    # a line after a Markdown table would become a row of it
    notes = [f"\n{note}" if table_format == "markdown" else note for note in _notes(groups)]
    return "\n".join([render_table(kept, table_format), *notes])


def render_epochs(records: Sequence[RunRecord], *, table_format: TableFormat) -> str:
    """Accuracy on the eval split after each whole epoch: a row per epoch, a column per group.

    CSV and JSON have a row for each pair, accuracies as fractions.

    Raises:
        InputError: no run was evaluated after a whole epoch.
    """
    groups = group_runs(records)
    labels = group_labels(groups)
    found = {
        (epoch, label): estimate
        for label, group in zip(labels, groups, strict=True)
        for epoch, estimate in accuracy_by_epoch(group).items()
    }
    if not found:
        raise InputError("by_epoch: no run was evaluated after a whole epoch; leave it out")
    values = [{"run": run, "epoch": epoch} | e._asdict() for (epoch, run), e in found.items()]
    if table_format == "json":
        return json.dumps(values, indent=1, allow_nan=False)
    if table_format == "csv":
        return _csv(values)
    cells = {key: _text(e._asdict(), lambda x: f"{100 * x:.2f}") for key, e in found.items()}
    rows = [
        {"epoch": str(epoch)} | {label: cells.get((epoch, label), NOT_MEASURED) for label in labels}
        for epoch in sorted({epoch for epoch, _ in found})
    ]
    return render_table(rows, table_format)


def render_table(rows: Sequence[Mapping[str, str]], table_format: TableFormat) -> str:
    """`rows` (column -> text) for a terminal or as Markdown, with markup in cells escaped."""
    if table_format == "markdown":
        rows = [{k: _escaped(v) for k, v in row.items()} for row in rows]
        return tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True)
    return tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)


_OPTIONAL = {"n": "1", "status": "completed", "differs in": ""}
"""Columns left out where every row says the same, expected thing."""


def _cells(group: Sequence[RunRecord], differs: str) -> dict[str, str]:
    row = summarise(group)
    target = row["target_accuracy"]
    return {
        "recipe": row["recipe"],
        "differs in": differs,
        "dataset": NOT_MEASURED
        if row["dataset"] is None
        else f"{row['dataset']} ({row['source']})",
        "device": row["device"],
        "precision": row["precision"] or NOT_MEASURED,
        "loop": row["loop"],
        "samples/s": _text(row["samples_per_s"], lambda x: f"{x:,.0f}"),
        "epochs": NOT_MEASURED if row["epochs"] is None else f"{row['epochs']:g}",
        "val acc %": _text(row["val_accuracy"], lambda x: f"{100 * x:.2f}"),
        "test acc %": _text(row["test_accuracy"], lambda x: f"{100 * x:.2f}"),
        "time to target": _time_text(row["time_to_accuracy_s"], target),
        "wall s": _text(row["wall_s"], lambda x: f"{x:.1f}"),
        "n": str(row["n"]),
        "status": row["status"],
    }


def _time_text(reached: Mapping[str, Any] | None, target: float | None) -> str:
    if reached is None or target is None:
        return NOT_MEASURED
    goal = f" to {100 * target:g} %"
    if "mean" in reached:
        return _text(reached, lambda x: f"{x:.2f}") + " s" + goal
    if reached["reached"] == 0:
        return f"not reached{goal}"
    return f"{reached['reached']} of {reached['of']} got{goal}"


def _text(estimate: Mapping[str, Any] | None, show: Callable[[float], str]) -> str:
    if estimate is None:
        return NOT_MEASURED
    value = Estimate(estimate["mean"], estimate["half_width"], estimate["n"])
    spread = "" if value.half_width is None else f" ± {show(value.half_width)}"
    return show(value.mean) + spread


def _notes(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    notes = {
        f"* {record.recipe.name} changed in: {', '.join(record.recipe.changed)}": None
        for group in groups
        for record in group
        if record.recipe and record.recipe.changed
    }
    if any(len(group) > 1 for group in groups):
        notes["± is half the width of the 95 % interval of the mean over n seeds"] = None
        notes["wall s of several seeds leaves out import, startup and data, which they share"] = (
            None
        )
    notes |= dict.fromkeys(_protocol(g[0]) for g in groups if g[0].config["eval_split"] == "test")
    return list(notes)


def _protocol(record: RunRecord) -> str:
    changed = set(record.recipe.changed) if record.recipe else {"eval_split"}
    if changed & {"eval_split", "eval_every_steps"}:
        return "the test set was read while training"
    return "the test set was read after each epoch, as the recipe's source did"


def _escaped(text: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("\n", " ")):
        text = text.replace(plain, escaped)
    return text


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}_{part}": inner for part, inner in value.items()}
        else:
            flat[key] = " ".join(map(str, value)) if isinstance(value, list) else value
    return flat


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")
