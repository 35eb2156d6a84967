"""Runs that differ in nothing but their seed, taken together, and what they say as one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from mnistbench.analysis.differences import CODE
from mnistbench.analysis.metrics import METRICS, Level, Metric, MetricName
from mnistbench.analysis.number_text import numbered
from mnistbench.analysis.reference_bands import check_group
from mnistbench.analysis.repeats import counted, one_per_seed
from mnistbench.analysis.stability import (
    code_change,
    is_profiled,
    is_unstable,
    ran_beside_others,
    stood_still,
)
from mnistbench.analysis.target_score import TargetScore, score_target, told_target
from mnistbench.schema.record import RunRecord, finite
from mnistbench.schema.reference import ReferenceCurve
from mnistbench.schema.training_fields import SAME_RUN, as_left_to_the_run
from mnistbench.stats.readings import Reading
from mnistbench.stats.survival import CensoredMedian

__all__ = [
    "accuracy_by_epoch",
    "differences",
    "group_labels",
    "group_runs",
    "identify",
    "identity",
    "run_name",
    "summarise",
    "target_values",
    "told_level",
]

_SHOWN = ("device_name", "num_processes", "num_threads", "mixed_precision")
"""What tells environments apart and has a column of its own."""


def group_runs(
    records: Iterable[RunRecord], *, across_commits: bool = False
) -> list[list[RunRecord]]:
    """Runs that differ in nothing but their seed, together, in order of first appearance.

    With `across_commits` they may be of several commits too, as a folder's are when one lands
    meanwhile. All runs of a seed are there: what a repeat is a sample of, `Metric` says. Profiled
    runs are never together with others.
    """
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(_key(record, across_commits=across_commits), []).append(record)
    return list(groups.values())


def summarise(
    group: Sequence[RunRecord], *, references: Sequence[ReferenceCurve] = ()
) -> dict[str, Any]:
    """One row in full precision: each figure as its metric estimates it, with spread and n."""
    first, epochs = group[0], {r.num_epochs for r in counted(group)}
    target = told_target(group)
    score = target_values(score_target(group, target)) if target is not None else {}
    return _what(first) | {
        "samples_per_s": level_values(group, "samples_per_s"),
        "epochs": epochs.pop() if len(epochs) == 1 else None,
        "val_accuracy": level_values(group, "val_accuracy"),
        "test_accuracy": level_values(group, "test_accuracy"),
        "target_accuracy": target,
        "time_to_accuracy_s": score.get("time_to_accuracy_s"),
        "expected_time_s": score.get("expected_time_s"),
        "train_s": level_values(group, "train_s"),
        "wall_s": level_values(group, "wall_s"),
        "cold_start_s": level_values(group, "cold_start_s"),
        "reference": check_group(group, references),
        **_which(group),
    }


def level_values(group: Sequence[RunRecord], name: MetricName) -> dict[str, Any] | None:
    """What `group` says of a metric, as rows and files have it; ``None`` if nothing.

    A mean with half the width of its interval, or a median with the smallest and the largest; of
    runs that did not complete only where none did.
    """
    metric = METRICS[name]
    return told_level(metric.of(counted(group), unfinished=True), metric)


def told_level(level: Level, metric: Metric) -> dict[str, Any] | None:
    """`level` of a `metric` by the names that rows and files have; ``None`` without an estimate."""
    if level.value is None:
        return None
    if metric.spread == "range":
        return {"median": level.value, "min": level.low, "max": level.high, "n": level.n}
    if metric.estimator == "median":
        return {"median": level.value, "low": level.low, "high": level.high, "n": level.n}
    half = None if level.high is None else level.high - level.value
    return {"mean": level.value, "half_width": half, "n": level.n}


def identify(group: Sequence[RunRecord]) -> dict[str, Any]:
    """What was run and which runs it was, as `summarise` has them, without their figures."""
    return _what(group[0]) | _which(group)


def target_values(score: TargetScore) -> dict[str, Any]:
    """`score` as rows and files have it: times in seconds, ``None`` where it was not reached."""

    def median(part: CensoredMedian) -> dict[str, Any]:
        ends = {"low": part.low, "high": part.high, "above": part.above, "at_most": part.at_most}
        return {"median": part.median} | ends | {"reached": part.reached, "of": part.n}

    expected = score.expected_s
    return {
        "time_to_accuracy_s": median(score.time_s),
        "steps_to_accuracy": median(score.steps),
        "expected_time_s": {"time": expected.time, "low": expected.low, "high": expected.high},
    }


def accuracy_by_epoch(group: Sequence[RunRecord]) -> dict[int, Level]:
    """The accuracy of every whole epoch after which every seed that counts was evaluated."""
    curves = [
        {
            int(point.epoch): Reading.of(point.accuracy)
            for point in record.eval_points
            if point.split == record.config.get("eval_split") and point.epoch == int(point.epoch)
        }
        for record in one_per_seed(counted(group))
    ]
    shared = set.intersection(*(set(curve) for curve in curves))
    level = METRICS["val_accuracy"].level
    return {epoch: level([c[epoch] for c in curves]) for epoch in sorted(shared)}


def group_labels(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """A short name for each group; those that would be told apart by nothing are numbered."""
    return numbered(_label(group) for group in groups)


def differences(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """For each group what no column shows and sets it apart from others of the same name."""
    named = [(run_name(group[0]), identity(group[0])) for group in groups]
    first: dict[str, dict[str, Any]] = {}
    varying: dict[str, set[str]] = {}
    for name, values in named:  # where one differs from another, one differs from the first
        one = first.setdefault(name, values)
        told = varying.setdefault(name, set(_SHOWN))
        told |= {k for k in (values | one).keys() - told if values.get(k) != one.get(k)}
    return [
        ", ".join(f"{k} {v}" for k, v in its.items() if k in varying[name] and k not in _SHOWN)
        for name, its in named
    ]


def run_name(record: RunRecord) -> str:
    """The recipe, starred where it was changed; without one, the model and the loss."""
    if record.recipe is not None:
        return record.recipe.name + ("*" if record.recipe.changed else "")
    told = [str(record.config[key]) for key in ("model", "loss") if record.config.get(key)]
    if not told and record.num_parameters:
        told = [f"{record.num_parameters:,} parameters"]
    return ", ".join(told) or "not named"


def _what(first: RunRecord) -> dict[str, Any]:
    return {
        "recipe": run_name(first),
        "model": first.config.get("model"),
        "loss": first.config.get("loss"),
        "dataset": first.dataset.name if first.dataset else None,
        "source": first.dataset.source if first.dataset else None,
        "device": _hardware(first),
        "precision": first.environment.get("mixed_precision"),
        "loop": _loop(first),
        **_batch(first),
    }


def _batch(record: RunRecord) -> dict[str, Any]:
    """The samples of a step, and how they and the learning rate grow with the processes."""
    return {
        "global_batch_size": record.environment.get("global_batch_size"),
        "per_device_batch_size": record.config.get("per_device_batch_size"),
        "num_processes": record.environment.get("num_processes"),
        "lr_scaling": record.config.get("lr_scaling"),
        "lr_factor": _quotient(record.environment.get("lr_peak"), record.config.get("lr")),
    }


def _quotient(part: Any, whole: Any) -> float | None:
    known = isinstance(part, int | float) and isinstance(whole, int | float) and whole > 0
    return finite(part / whole) if known else None


def _loop(record: RunRecord) -> str | None:
    """The loop, how its steps were run, and the loader; ``None`` if the run does not say."""
    loop, floor = record.config.get("loop"), record.environment.get("loop_floor")
    if loop is None:
        return None
    mode = "" if floor in (None, loop) else f" {floor}"
    return f"{loop}{mode}/{record.config.get('loader')}"


def _which(group: Sequence[RunRecord]) -> dict[str, Any]:
    known = [record for record in group if record.canary]
    told = [record for record in group if record.environment.get("measured_alone") is not None]
    watched = [record for record in group if record.stood_still_s is not None]
    return {
        "unstable_runs": sum(map(is_unstable, known)) if known else None,
        "runs_beside_others": sum(map(ran_beside_others, told)) if told else None,
        "profiled_runs": sum(map(is_profiled, group)),
        "runs_that_stood_still": sum(map(stood_still, watched)) if watched else None,
        "n": len(group),
        "num_seeds": len({record.seed for record in group}),
        "completed": sum(record.status == "completed" for record in group),
        "seeds": [r.seed for r in group],
        "status": _status(group),
        "run_ids": [r.run_id for r in group],
    }


def _label(group: Sequence[RunRecord]) -> str:
    """What was trained, on what, and over how many seeds."""
    first, n = group[0], len(counted(group))
    data = first.dataset.name if first.dataset else "no data"
    size = f"{n} of {len(group)}" if n < len(group) else str(n)
    name = f"{run_name(first)} on {data}" + ", profiled" * is_profiled(first)
    return name + (f" (n = {size})" if len(group) > 1 else "")


def _status(group: Sequence[RunRecord]) -> str:
    """The status of all, or how many have which."""
    counts = Counter(record.status for record in group)
    if len(counts) == 1:
        return group[0].status
    return ", ".join(f"{number} {status}" for status, number in counts.most_common())


def _key(record: RunRecord, *, across_commits: bool) -> str:
    left_out = CODE if across_commits else ()
    values = {k: v for k, v in identity(record).items() if k not in left_out}
    values["profiled"] = is_profiled(record)
    return json.dumps(values, sort_keys=True, default=str)


def identity(record: RunRecord) -> dict[str, Any]:
    """All that makes a run this run, apart from its seed and its outcome."""
    values = as_left_to_the_run(record.config)
    config = {k: v for k, v in values.items() if k not in SAME_RUN}
    environment = {k: record.environment.get(k) for k in (*_SHOWN, *CODE, "launcher")}
    if environment["git_commit"]:
        environment["git_commit"] = str(environment["git_commit"])[:10]
    if change := code_change(record):
        environment["git_commit"] = f"changed {change} ({record.run_id})"
    versions = record.environment.get("versions") or {}
    # not where the data came from: downloaded today, local tomorrow, the same bytes
    data = {"data sha256": record.dataset.sha256[:12]} if record.dataset else {}
    hooks = record.profile.hooks if record.profile else []
    watched = {"hooks": ", ".join(hooks)} if hooks else {}
    told = not config.keys() <= {"eval_split", "target_accuracy"}
    foreign = _foreign(record, told=told) if "model" not in config else {}
    return config | foreign | environment | versions | data | watched


def _foreign(record: RunRecord, *, told: bool) -> dict[str, Any]:
    """What tells runs apart whose configuration names no model, or is not `told` at all.

    Where nothing tells, a run is like no other.
    """
    recipe = record.recipe.name if record.recipe else None
    known: dict[str, Any] = {"recipe": recipe, "parameters": record.num_parameters}
    if not told:
        known |= {"epochs": record.num_epochs or None, "steps": record.num_steps or None}
    if record.dataset is None and not told and not any(known.values()):
        return {"run": record.run_id}
    return known | {"target": record.result.target_accuracy}


def _hardware(record: RunRecord) -> str:
    environment = record.environment
    device = environment.get("device_type", "unknown")
    if device != "cpu":
        return f"{environment.get('device_name', device)} × {environment.get('num_processes', 1)}"
    threads = f" × {environment.get('num_threads')} threads"
    return f"{device} × {environment.get('num_processes', 1)}{threads}"
