"""Figures as the text of a table's cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from mnistbench.analysis.bottleneck import data_wait_text
from mnistbench.analysis.grouping import identify
from mnistbench.analysis.metrics import METRICS, Metric, TargetScore, told_target
from mnistbench.analysis.number_text import NOT_MEASURED, count, goal, seconds
from mnistbench.analysis.reference_bands import check_group
from mnistbench.analysis.repeats import counted, one_per_seed
from mnistbench.analysis.rules import RuleScore
from mnistbench.analysis.stability import time_mark
from mnistbench.schema.record import RunRecord
from mnistbench.schema.reference import ReferenceCurve
from mnistbench.stats.intervals import Interval
from mnistbench.stats.readings import Level

_TIME = "time to target s"


def run_cells(
    group: Sequence[RunRecord],
    references: Sequence[ReferenceCurve],
    *,
    metrics: Mapping[str, Metric] = MappingProxyType({}),
) -> dict[str, str]:
    """A row of the main table, without its name, with `metrics` of any loop: column -> text."""
    row, target = identify(group), told_target(group)
    data = f"{row['dataset']} ({row['source']})" if row["dataset"] else NOT_MEASURED
    mark, time = time_mark(group), METRICS["time_to_accuracy_s"]
    to_target = counted_text(time.of(group, target), time) if target else NOT_MEASURED

    def figure(name: str, metric: Metric | None = None) -> str:
        metric, runs = metric or METRICS[name], counted(group)
        level = metric.of(runs, unfinished=True)
        told = runs if metric.independent == "run" else one_per_seed(runs)
        lacking = 0 < level.n < len(told) and name != "cold_start_s"
        return level_text(level, metric) + f" (n = {level.n})" * lacking

    def marked(text: str, mark: str = mark) -> str:
        return text + mark if text != NOT_MEASURED else text

    return {
        "dataset": data,
        "target": NOT_MEASURED if target is None else goal(target),
        "device": row["device"],
        "batch": batch_text(row),
        "precision": row["precision"] or NOT_MEASURED,
        "loop": row["loop"] or NOT_MEASURED,
        "samples/s": marked(figure("samples_per_s")),
        "data wait %": data_wait_text(counted(group)),
        "epochs": count(row["epochs"]) if row["epochs"] else NOT_MEASURED,
        **{metric.label + metric.unit: figure(name, metric) for name, metric in metrics.items()},
        "val acc %": figure("val_accuracy"),
        "test acc %": figure("test_accuracy"),
        _TIME: marked(to_target, time_mark(group, to_target=True)),
        "wall s": marked(figure("wall_s")),
        "start s": marked(figure("cold_start_s")),
        "reference": _reference_text(check_group(group, references)),
        "n": _count_text(row),
        "status": row["status"],
    }


def told_columns(
    rows: Sequence[Mapping[str, str]], groups: Sequence[Sequence[RunRecord]]
) -> list[dict[str, str]]:
    """`rows` of the main table without the columns in which no run of other loops has anything.

    Our own have them all, but for that of waiting for data, which belongs to the others.
    """
    foreign = all(run.is_foreign for group in groups for run in group)
    droppable = {*rows[0]} if foreign else {"data wait %"}
    gone = {k for k in droppable if all(row[k] == NOT_MEASURED for row in rows)}
    return [{k: text for k, text in row.items() if k not in gone} for row in rows]


def with_target_in_head(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Rows of the main table, with a target that all of them share in the head of their times."""
    targets = {row.get("target", NOT_MEASURED) for row in rows}
    if len(targets) > 1:
        told = "target" if "target_accuracy" in rows[0] else ""  # by that column already
        return [{k: text for k, text in row.items() if k != told} for row in rows]
    head = _TIME.replace("target", targets.pop().replace(NOT_MEASURED, "target"))
    return [
        {(head if k == _TIME else k): text for k, text in row.items() if k != "target"}
        for row in rows
    ]


def target_cells(score: TargetScore, *, mark: str) -> dict[str, str]:
    """How fast a group got to one target, times with `mark`: column -> text."""
    time = score.time_s
    return {
        "median s": median_text(time, seconds) + mark,
        "reached": f"{time.reached} of {time.n}",
        "expected s": median_text(score.expected_s, seconds) + mark,
        "steps": median_text(score.steps, lambda x: f"{x:.0f}"),
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


def level_text(level: Level, metric: Metric) -> str:
    """An estimate in its metric's unit, which is not said, with its spread.

    A mean ± half the width of its interval, a median (smallest–largest), or the median of times to
    a target as `median_text` has it.
    """
    if metric.to_target:
        return median_text(level, metric.show)
    if level.value is None:
        return NOT_MEASURED
    if level.low is None or level.high is None:
        return metric.show(level.value)
    if metric.estimator == "median":
        return f"{metric.show(level.value)} ({metric.show(level.low)}–{metric.show(level.high)})"
    return f"{metric.show(level.value)} ± {metric.show(level.high - level.value)}"


def median_text(found: Level, show: Callable[[float], str]) -> str:
    """A median with the ends of its interval: open, or a dash, where the runs do not bound it.

    Of a single run they are its last evaluation below the target and the first at it. Where half of
    the runs were at it at their first evaluation, it is no more than a bound: ``≤ 1.20``.
    """
    median, low, high, n, _, above, at_most = found
    if median is None:
        return "not reached"
    bound = above == 0 and at_most is not None
    text = f"≤ {show(at_most)}" if bound and at_most else show(median)
    if n == 1:
        known = above is None or at_most is None or above == at_most or bound
        return text if known else f"{text} ({show(above or 0.0)}–{show(at_most or 0.0)})"
    if low is None and high is None:
        return f"{text} ({NOT_MEASURED})"
    return f"{text} ({show(low or 0.0)}–{'∞' if high is None else show(high)})"


def counted_text(level: Level, metric: Metric) -> str:
    """`level_text`; of times to a target also how many of several runs got there.

    That alone where they are too few for a median: ``2 of 6 reached``.
    """
    if not metric.to_target or level.n == 1:
        return level_text(level, metric)
    reached = f"{level.reached} of {level.n}"
    median = f"{level_text(level, metric)}, {reached}"
    return f"{reached} reached" if level.value is None else median


def ratio_text(ratio: Interval | None) -> str:
    """A ratio with the ends of its interval, likewise; a dash where it is not known."""
    if ratio is None:
        return NOT_MEASURED
    return median_text(Level(*ratio, n=0, reached=0), lambda x: f"{x:.2f}")


def _count_text(row: Mapping[str, Any]) -> str:
    """How many runs figures are of, of how many, and of how many seeds if fewer."""
    n, completed, seeds = row["n"], row["completed"] or row["n"], row["num_seeds"]
    runs = str(n) if completed == n else f"{completed} of {n}"
    return runs if seeds == n else f"{runs} ({seeds} seed{'s' * (seeds > 1)})"


def _lr_text(row: Mapping[str, Any]) -> str:
    rule, factor = row["lr_scaling"], row["lr_factor"]
    if rule in (None, "none"):
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
