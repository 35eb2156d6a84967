"""Records as rows, rows as text: terminal table, Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from tabulate import tabulate

from mnistbench.analysis.scoring import time_to_accuracy
from mnistbench.analysis.statistics import Estimate, mean_interval
from mnistbench.schema.record import RunRecord

__all__ = ["NOT_MEASURED", "TableFormat", "group_runs", "render_runs", "render_table"]

TableFormat = Literal["table", "markdown", "csv", "json"]
NOT_MEASURED = "–"

_NOT_IN_KEY = ("seed", "num_seeds", "output_dir", "data_dir", "require_target", "eval_batch_size")


def group_runs(records: Iterable[RunRecord]) -> list[list[RunRecord]]:
    """Runs that differ in nothing but their seed, together, in order of first appearance."""
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(_key(record), []).append(record)
    return list(groups.values())


def render_runs(
    records: Sequence[RunRecord], *, table_format: TableFormat, per_run: bool = False
) -> str:
    """A row for each group of `records` (see `group_runs`), or for each run with `per_run`.

    Over several runs a cell is the mean and half the width of its 95 % interval, with n.
    """
    groups = [[record] for record in records] if per_run else group_runs(records)
    if table_format == "json":
        return json.dumps([_values(group) for group in groups], indent=1, allow_nan=False)
    if table_format == "csv":
        return _csv([_flat(_values(group)) for group in groups])
    rows = [_cells(group) for group in groups]
    dropped = {name for name in _OPTIONAL if all(row[name] == _OPTIONAL[name] for row in rows)}
    kept = [{k: v for k, v in row.items() if k not in dropped} for row in rows]
    return "\n".join([render_table(kept, table_format), *_notes(groups)])


def render_table(rows: Sequence[Mapping[str, str]], table_format: TableFormat) -> str:
    """`rows` (column -> text) for a terminal or as Markdown, with markup in cells escaped."""
    if table_format == "markdown":
        rows = [{k: _escaped(v) for k, v in row.items()} for row in rows]
        return tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True)
    return tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)


_OPTIONAL = {"n": "1", "status": "completed"}
"""Columns left out where every row says the same, expected thing."""


def _key(record: RunRecord) -> str:
    config = {k: v for k, v in record.config.items() if k not in _NOT_IN_KEY}
    environment = {
        k: record.environment.get(k)
        for k in ("device_name", "num_processes", "num_threads", "mixed_precision", "versions")
    }
    dataset = record.dataset.model_dump() if record.dataset else None
    if dataset:
        del dataset["source"]  # downloaded today, local tomorrow: the same bytes
    return json.dumps([config, environment, dataset, record.status], sort_keys=True, default=str)


def _name(record: RunRecord) -> str:
    if record.recipe is None:
        return f"{record.config.get('model')}, {record.config.get('loss')}"
    return record.recipe.name + ("*" if record.recipe.changed else "")


def _hardware(record: RunRecord) -> str:
    environment = record.environment
    device = environment.get("device_type", NOT_MEASURED)
    threads = f" × {environment.get('num_threads')} threads" if device == "cpu" else ""
    return f"{device} × {environment.get('num_processes', 1)}{threads}"


def _values(group: Sequence[RunRecord]) -> dict[str, Any]:
    """One row in full precision: numbers as they are, estimates as mean, half width and n."""
    first = group[0]
    target = first.result.target_accuracy
    return {
        "recipe": _name(first),
        "model": first.config.get("model"),
        "loss": first.config.get("loss"),
        "dataset": first.dataset.name if first.dataset else None,
        "source": first.dataset.source if first.dataset else None,
        "device": _hardware(first),
        "precision": first.environment.get("mixed_precision"),
        "loop": f"{first.config.get('loop')}/{first.config.get('loader')}",
        "global_batch_size": first.environment.get("global_batch_size"),
        "samples_per_s": _estimate(r.throughput.samples_per_s for r in group),
        "epochs": first.num_epochs if len({r.num_epochs for r in group}) == 1 else None,
        "val_accuracy": _estimate(r.result.val_accuracy for r in group),
        "test_accuracy": _estimate(r.result.test_accuracy for r in group),
        "target_accuracy": target,
        "time_to_accuracy_s": _reached(group, target),
        "train_s": _estimate(r.phases_s.get("train") for r in group),
        "wall_s": _estimate(r.wall_s for r in group),
        "n": len(group),
        "seeds": [r.seed for r in group],
        "status": first.status,
        "run_ids": [r.run_id for r in group],
    }


def _reached(group: Sequence[RunRecord], target: float | None) -> dict[str, Any] | None:
    """How many runs reached the target, and the mean time only if all of them did."""
    if target is None:
        return None
    scores = [
        time_to_accuracy(r.eval_points, target, split=str(r.config["eval_split"])) for r in group
    ]
    times = [score.time_s for score in scores if score is not None]
    estimate = _estimate(times) if len(times) == len(group) else None
    return {"reached": len(times), "of": len(group)} | (estimate or {})


def _estimate(values: Iterable[float | None]) -> dict[str, Any] | None:
    """Mean, half width and n; ``None`` unless every run measured the value."""
    known = list(values)
    measured = [value for value in known if value is not None]
    if not measured or len(measured) < len(known):
        return None
    return mean_interval(measured)._asdict()


def _cells(group: Sequence[RunRecord]) -> dict[str, str]:
    row = _values(group)
    target = row["target_accuracy"]
    return {
        "recipe": row["recipe"],
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
    count = "" if reached["of"] == 1 else f" ({reached['reached']} of {reached['of']} did)"
    return f"not reached{goal}{count}"


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
    if any(group[0].config.get("eval_split") == "test" for group in groups):
        notes["the test set was read after each epoch, as the recipe's source did"] = None
    return list(notes)


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
