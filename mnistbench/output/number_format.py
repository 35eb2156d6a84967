"""Figures as the text of a table's cells, and the notes below it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mnistbench.analysis.grouping import counted, summarise
from mnistbench.analysis.number_text import NOT_MEASURED, goal, percent, seconds
from mnistbench.analysis.reference_bands import unchecked_notes
from mnistbench.analysis.rules import RuleScore
from mnistbench.analysis.stability import mark_notes, time_mark
from mnistbench.schema.record import RunRecord
from mnistbench.schema.reference import ReferenceCurve
from mnistbench.stats.intervals import Ratio

__all__ = [
    "MEDIAN_NOTE",
    "batch_text",
    "estimate_text",
    "median_text",
    "notes",
    "ratio_text",
    "run_cells",
    "score_cells",
    "target_cells",
]

MEDIAN_NOTE = "(95 % interval; – where so few runs give none)"


def run_cells(
    group: Sequence[RunRecord], differs: str, references: Sequence[ReferenceCurve]
) -> dict[str, str]:
    """A row of the main table: column -> text."""
    row = summarise(group, references=references)
    data = f"{row['dataset']} ({row['source']})" if row["dataset"] else NOT_MEASURED
    counting, mark = row["completed"] or row["n"], time_mark(group)

    def mean(key: str, show: Callable[[float], str]) -> str:
        return estimate_text(row[key], show)

    def marked(text: str) -> str:
        return text + mark if text != NOT_MEASURED else text

    return {
        "recipe": row["recipe"],
        "differs in": differs,
        "dataset": data,
        "device": row["device"],
        "batch": batch_text(row),
        "precision": row["precision"] or NOT_MEASURED,
        "loop": row["loop"],
        "samples/s": marked(mean("samples_per_s", lambda x: f"{x:,.0f}")),
        "epochs": NOT_MEASURED if row["epochs"] is None else f"{row['epochs']:g}",
        "val acc %": mean("val_accuracy", percent),
        "test acc %": mean("test_accuracy", percent),
        "time to target": marked(_target_text(row)),
        "wall s": marked(mean("wall_s", lambda x: f"{x:.1f}")),
        "reference": _reference_text(row["reference"]),
        "n": str(row["n"]) if counting == row["n"] else f"{counting} of {row['n']}",
        "status": row["status"],
    }


def target_cells(values: Mapping[str, Any], *, mark: str) -> dict[str, str]:
    """What `target_values` says of one target, times with `mark`: column -> text."""
    time = values["time_to_accuracy_s"]
    expected = {"median": values["expected_time_s"]["time"]} | values["expected_time_s"]
    alone = time["of"] == 1
    return {
        "median s": median_text(time, seconds, alone=alone) + mark,
        "reached": f"{time['reached']} of {time['of']}",
        "expected s": median_text(expected, seconds, alone=alone) + mark,
        "steps": median_text(values["steps_to_accuracy"], lambda x: f"{x:.0f}", alone=alone),
    }


def score_cells(score: RuleScore, *, mark: str) -> dict[str, str]:
    """What one rule says, a time with `mark`: column -> text."""
    time = NOT_MEASURED if score.time_s is None else seconds(score.time_s)
    return {
        "rule": score.rule,
        "clock": score.clock,
        "aggregate": score.aggregate,
        "time s": time + (mark if score.time_s is not None else ""),
        "n": str(score.n),
        "remark": score.remark,
    }


def batch_text(row: Mapping[str, Any]) -> str:
    """How the batch of a step was set, and what that made of the learning rate.

    ``64 in all`` is the same step on any number of processes; ``64 each = 128`` grows with them.
    """
    total, each = row["global_batch_size"], row["per_device_batch_size"]
    if total is None:
        return NOT_MEASURED
    if row["num_processes"] in {None, 1}:
        return str(total)
    return f"{total} in all" if each is None else f"{each} each = {total}, {_lr_text(row)}"


def estimate_text(estimate: Mapping[str, Any] | None, show: Callable[[float], str]) -> str:
    """A mean, with half the width of its interval where it has one."""
    if estimate is None:
        return NOT_MEASURED
    half_width = estimate["half_width"]
    spread = "" if half_width is None else f" ± {show(half_width)}"
    return show(estimate["mean"]) + spread


def median_text(values: Mapping[str, Any], show: Callable[[float], str], *, alone: bool) -> str:
    """A median with the ends of its interval: open, or a dash, where the runs do not bound it."""
    median, low, high = values["median"], values["low"], values["high"]
    if median is None:
        return "not reached"
    if alone:
        return show(median)
    if low is None and high is None:
        return f"{show(median)} ({NOT_MEASURED})"
    return f"{show(median)} ({show(low or 0.0)}–{'∞' if high is None else show(high)})"


def ratio_text(ratio: Ratio | None) -> str:
    """A ratio with the ends of its interval, likewise; a dash where it is not known."""
    if ratio is None:
        return NOT_MEASURED
    values = {"median": ratio.value, "low": ratio.low, "high": ratio.high}
    return median_text(values, lambda x: f"{x:.2f}", alone=False)


def notes(groups: Sequence[Sequence[RunRecord]], references: Sequence[ReferenceCurve]) -> list[str]:
    """The lines below the main table, each of them once."""
    lines = [
        f"* {record.recipe.name} changed in: {', '.join(record.recipe.changed)}"
        for group in groups
        for record in group
        if record.recipe and record.recipe.changed
    ]
    several = [group for group in groups if len(group) > 1]
    if several:
        lines += [
            "± is half the width of the 95 % interval of the mean over n seeds",
            "wall s of several seeds leaves out import, startup and data, which they share",
        ]
    if any(group[0].result.target_accuracy for group in several):
        lines.append(f"time to target is the median over all seeds {MEDIAN_NOTE}")
    if any(len(counted(group)) < len(group) for group in several):
        lines.append("a run that did not complete counts in the time to target only")
    resumed = sum(bool(record.interruptions) for group in groups for record in group)
    if resumed:
        lines.append(f"{resumed} run(s) were interrupted and went on; time between does not count")
    lines += mark_notes(groups)
    lines += [_protocol(g[0]) for g in groups if _reads_test_more_than_once(g[0])]
    lines += unchecked_notes(groups, references)
    return list(dict.fromkeys(lines))


def _target_text(row: Mapping[str, Any]) -> str:
    score, target = row["time_to_accuracy_s"], row["target_accuracy"]
    if score is None:
        return NOT_MEASURED
    alone = score["of"] == 1
    unit = "" if score["median"] is None else " s"
    count = "" if alone else f", {score['reached']} of {score['of']}"
    return f"{median_text(score, seconds, alone=alone)}{unit} to {goal(target)}{count}"


def _lr_text(row: Mapping[str, Any]) -> str:
    rule, factor = row["lr_scaling"], row["lr_factor"]
    if rule in {None, "none"}:
        return "lr as given"
    return f"lr scaled ({rule})" if factor is None else f"lr × {factor:.3g} ({rule})"


def _reference_text(check: Mapping[str, Any] | None) -> str:
    if check is None:
        return NOT_MEASURED
    if not check["left"]:
        return "inside"
    if check["checked"] == 1:
        return f"left at {check['first']}"
    return (
        f"{check['left']} of {check['checked']} left, seed {check['seeds'][0]} at {check['first']}"
    )


def _reads_test_more_than_once(record: RunRecord) -> bool:
    return sum(point.split == "test" for point in record.eval_points) > 1


def _protocol(record: RunRecord) -> str:
    changed = set(record.recipe.changed) if record.recipe else {"eval_split"}
    if changed & {"eval_split", "eval_every_steps"}:
        return "the test set was read while training"
    return "the test set was read after each epoch, as the recipe's source did"
