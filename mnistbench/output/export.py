"""Records as rows of plain values, in the same columns whatever they hold: CSV, JSON, Python.

A row is one run, or the runs of one configuration. It has what tells which (`IDENTITY`), then each
other setting in which rows differ, then what was measured (`figures`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from mnistbench.analysis.differences import CODE, code_of, identity, is_source, settings_of
from mnistbench.analysis.free_metrics import free_metrics, scored_at
from mnistbench.analysis.grouping import accuracy_by_epoch, identify
from mnistbench.analysis.metrics import METRICS, Asked, Level, Metric, score_target, told_target
from mnistbench.analysis.reference_bands import check_group
from mnistbench.analysis.repeats import counted
from mnistbench.analysis.rules import score_rules
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import APPLIES_TO, is_read
from mnistbench.schema.provenance import sources_text
from mnistbench.schema.record import RunRecord, Target
from mnistbench.schema.reference import ReferenceCurve

Runs: TypeAlias = Sequence[RunRecord]
Row: TypeAlias = dict[str, Any]

IDENTITY = (
    *("recipe", "recipe_changed", "model", "loss", "optimizer", "lr", "momentum", "weight_decay"),
    *("lr_schedule", "global_batch_size", "per_device_batch_size", "lr_scaling", "lr_factor"),
    *("precision", "loop", "execution_mode", "loader", "dataset", "source", "eval_split"),
    *("device", "device_name", "num_processes", "num_threads", "launcher", "commit", "code"),
    *("run_ids", "seeds", "n", "num_seeds", "completed", "status"),
    *("unstable_runs", "runs_beside_others", "profiled_runs", "runs_that_stood_still", "epochs"),
    *("workload", "framework"),
)
"""The first columns of every row; ``docs/exports.md`` says what each holds."""

_ONE = {"run_ids": "run_id", "seeds": "seed"}
"""Columns of a list, and what they are where a row is one run."""

_TOLD_ELSEWHERE = {*IDENTITY, *CODE, "mixed_precision", "target_accuracy", "run", "target"}
"""Settings that have a column already, by whatever name."""

_AS_GIVEN = {"model", "loss", "optimizer", "lr", "momentum", "weight_decay", "lr_schedule"}
"""Settings of any loop that are shown in the columns of ours."""
_TARGET = ("target_accuracy", "target_metric", "target_value")
_MEASURED = re.compile(rf"({'|'.join((*_TARGET, *METRICS))}|expected_time|reference|rule|epoch)")
"""How columns begin that are no settings."""


def export_rows(
    groups: Sequence[Runs],
    *,
    per_run: bool = False,
    references: Sequence[ReferenceCurve] = (),
    targets: Sequence[Asked] = (),
) -> list[Row]:
    """A row for each of `groups`, runs of one configuration or, with `per_run`, one run each.

    Where there are `targets`, accuracies that times are told to, there is a row for each of these;
    by default it is the group's own. `references` are the curves that runs are held to.
    """
    metrics = free_metrics(groups)
    return [
        row | figures(group, references=references, target=target, metrics=metrics)
        for row, group in zip(identities(groups, per_run=per_run), groups, strict=True)
        for target in (targets or [told_target(group)])
    ]


def rule_rows(groups: Sequence[Runs], targets: Sequence[float]) -> list[Row]:
    """A row for each of `groups`, each of `targets`, or its own, and each benchmark's rule."""
    return [
        row
        | target_columns(target)
        | {k if k == "rule" else f"rule_{k}": v for k, v in score._asdict().items()}
        for row, group in zip(identities(groups), groups, strict=True)
        for target in scored_at(group, targets)
        for score in score_rules(group, target)
    ]


def epoch_rows(groups: Sequence[Runs]) -> list[Row]:
    """A row for each of `groups` and each whole epoch after which all its seeds were evaluated."""
    return [
        row | {"epoch": epoch} | level_columns("accuracy", level)
        for row, group in zip(identities(groups), groups, strict=True)
        for epoch, level in accuracy_by_epoch(group).items()
    ]


def identities(groups: Sequence[Runs], *, per_run: bool = False) -> list[Row]:
    """What tells `groups` apart: `IDENTITY`, then each other setting in which they differ."""
    settings = [_settings(group[0]) for group in groups]
    names = dict.fromkeys([*RunConfig.model_fields, *(name for its in settings for name in its)])
    varying = [name for name in names if _varies(name, settings)]
    return [
        _identity(group, per_run=per_run) | {name: its.get(name) for name in varying}
        for group, its in zip(groups, settings, strict=True)
    ]


def target_columns(asked: Asked) -> Row:
    """A target in columns: an accuracy by itself, and any with its metric."""
    metric, value = ("accuracy", asked) if isinstance(asked, float | int) else (None, None)
    if isinstance(asked, Target):
        metric, value = asked.metric, asked.value
    accuracy = value if metric == "accuracy" else None
    return dict(zip(_TARGET, (accuracy, metric, value), strict=True))


def figures(
    group: Runs,
    *,
    references: Sequence[ReferenceCurve] = (),
    target: Asked,
    metrics: Mapping[str, Metric] = MappingProxyType({}),
) -> Row:
    """What `group` measured, with free `metrics`; times are to `target`, if there is one."""
    row: Row = target_columns(target)
    for name, metric in METRICS.items():
        runs = group if metric.to_target else counted(group)
        known = runs if target is not None or not metric.to_target else []
        level = metric.of(known, target, unfinished=True)
        if name != "duration_s":
            row |= level_columns(name, level, to_target=metric.to_target)
    expected = None if target is None else score_target(group, target).expected_s
    held = check_group(group, references) or {}
    for name, metric in metrics.items():
        row |= level_columns(f"metrics.{name}", metric.of(counted(group), unfinished=True))
    return row | {
        "expected_time_s": expected and expected.value,
        "expected_time_s_low": expected and expected.low,
        "expected_time_s_high": expected and expected.high,
        **{f"reference_{name}": held.get(name) for name in ("checked", "left", "seeds", "first")},
    }


def level_columns(name: str, level: Level, *, to_target: bool = False) -> Row:
    """`level` in columns of its own, those of a time to a target with what evaluations tell."""
    told = {"": level.value, "_low": level.low, "_high": level.high, "_n": level.n}
    if to_target:
        told |= {"_reached": level.reached, "_above": level.above, "_at_most": level.at_most}
    return {name + end: value for end, value in told.items()}


def _identity(group: Runs, *, per_run: bool) -> Row:
    first, environment, commit = group[0], group[0].environment, code_of(group[0])
    config = first.config
    if first.is_foreign:
        config = {k: v for k, v in config.items() if k in _AS_GIVEN}
    found = identify(group) | {
        "recipe": first.recipe.name if first.recipe else None,
        "recipe_changed": first.recipe.changed if first.recipe else None,
        "loop": config.get("loop"),
        "eval_split": first.eval_split,
        "execution_mode": environment.get("loop_floor"),
        "device": environment.get("device_type"),
        "commit": None if commit == "unknown" else commit,
        "code": sources_text(first.code),
        **{name: environment.get(name) for name in ("device_name", "num_threads", "launcher")},
        **(first.workload.model_dump(include={"framework"}) if first.workload else {}),
        "workload": first.workload.name if first.is_foreign and first.workload else None,
    }
    told = config if first.is_foreign else {k: v for k, v in config.items() if _is_read(k, config)}
    told = found | told if first.is_foreign else told | found
    row = {name: _plain(told.get(name)) for name in IDENTITY}
    return {_ONE.get(k, k): v[0] if k in _ONE else v for k, v in row.items()} if per_run else row


def _settings(record: RunRecord) -> Row:
    """All that sets `record` apart from others, is read and has no column of its own.

    What another loop than ours calls as a column here is called is ``config.NAME``.
    """
    given = settings_of(record) if record.is_foreign else {}
    found: Row = {}
    for name, value in identity(record).items():
        is_given = name in given and name not in _AS_GIVEN
        if name in _TOLD_ELSEWHERE or (is_given and _MEASURED.match(name)):
            found |= {f"config.{name}": _plain(value)} if is_given else {}
        elif not is_source(name) and (record.is_foreign or _is_read(name, record.config)):
            found[name.replace(" ", "_")] = _plain(value)
    return found


def _varies(name: str, settings: Sequence[Row]) -> bool:
    """Whether rows that read `name` differ in it."""
    known = [its.get(name) for its in settings if name in its or name not in APPLIES_TO]
    return any(value != known[0] for value in known)


def _is_read(name: str, config: Mapping[str, Any]) -> bool:
    """Whether what `config` chose, such as the optimizer, reads `name`, as far as it tells."""
    return APPLIES_TO.get(name, ("",))[0] not in config or is_read(name, config)


def _plain(value: Any) -> Any:
    """`value`, or as JSON text where it is neither plain nor a list of what is."""
    values = value if isinstance(value, list | tuple) else [value]
    if all(one is None or isinstance(one, str | int | float) for one in values):
        return value
    return json.dumps(value, sort_keys=True, default=str)
