"""Runs that differ in nothing but their seed, taken together, and what they say as one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from mnistbench.analysis.scoring import time_to_accuracy
from mnistbench.analysis.statistics import Estimate, mean_interval
from mnistbench.schema.record import Phase, RunRecord

__all__ = ["accuracy_by_epoch", "differences", "group_labels", "group_runs", "summarise"]

_SHOWN = ("device_name", "num_processes", "num_threads", "mixed_precision")
"""What tells environments apart and has a column of its own."""

_CODE = ("git_commit", "git_dirty")

_SAME_RUN = ("seed", "num_seeds", "output_dir", "data_dir", "require_target", "eval_batch_size")
"""Configuration values in which the runs of one group may differ."""


def group_runs(records: Iterable[RunRecord]) -> list[list[RunRecord]]:
    """Runs that differ in nothing but their seed, together, in order of first appearance.

    A seed that was run again counts once, as its newest run: a repeat is no second sample.
    """
    groups: dict[str, dict[int, RunRecord]] = {}
    for record in records:
        seeds = groups.setdefault(_key(record), {})
        before = seeds.get(record.seed)
        if before is None or before.created_at <= record.created_at:
            seeds[record.seed] = record
    return [list(seeds.values()) for seeds in groups.values()]


def summarise(group: Sequence[RunRecord]) -> dict[str, Any]:
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
        "wall_s": _estimate(_wall_s(r, alone=len(group) == 1) for r in group),
        "n": len(group),
        "seeds": [r.seed for r in group],
        "status": first.status,
        "run_ids": [r.run_id for r in group],
    }


def accuracy_by_epoch(group: Sequence[RunRecord]) -> dict[int, Estimate]:
    """The accuracy of every whole epoch that every run of `group` was evaluated after."""
    curves = [
        {
            int(point.epoch): point.accuracy
            for point in record.eval_points
            if point.split == record.config["eval_split"] and point.epoch == int(point.epoch)
        }
        for record in group
    ]
    shared = set.intersection(*(set(curve) for curve in curves))
    return {epoch: mean_interval([c[epoch] for c in curves]) for epoch in sorted(shared)}


def group_labels(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """A short name for each group; those that would be told apart by nothing are numbered."""
    labels = [_label(group) for group in groups]
    return [
        label if labels.count(label) == 1 else f"{label} #{labels[: index + 1].count(label)}"
        for index, label in enumerate(labels)
    ]


def differences(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """For each group what no column shows and sets it apart from others of the same name."""
    named = [(_name(group[0]), _identity(group[0])) for group in groups]
    texts = []
    for name, identity in named:
        same = [other for its, other in named if its == name]
        varying = [
            key
            for key, value in identity.items()
            if key not in _SHOWN and any(other.get(key) != value for other in same)
        ]
        texts.append(", ".join(f"{key} {identity[key]}" for key in varying))
    return texts


def _label(group: Sequence[RunRecord]) -> str:
    """What was trained, on what, and over how many seeds."""
    first = group[0]
    data = first.dataset.name if first.dataset else "no data"
    return f"{_name(first)} on {data}" + (f" (n = {len(group)})" if len(group) > 1 else "")


def _key(record: RunRecord) -> str:
    return json.dumps([_identity(record), record.status], sort_keys=True, default=str)


def _identity(record: RunRecord) -> dict[str, Any]:
    """All that makes a run this run, apart from its seed and its outcome."""
    config = {k: v for k, v in record.config.items() if k not in _SAME_RUN}
    environment = {k: record.environment.get(k) for k in (*_SHOWN, *_CODE)}
    if environment["git_commit"]:
        environment["git_commit"] = str(environment["git_commit"])[:10]
    versions = record.environment.get("versions") or {}
    # not where the data came from: downloaded today, local tomorrow, the same bytes
    data = {"data sha256": record.dataset.sha256[:12]} if record.dataset else {}
    return config | environment | versions | data


def _name(record: RunRecord) -> str:
    if record.recipe is None:
        return f"{record.config.get('model')}, {record.config.get('loss')}"
    return record.recipe.name + ("*" if record.recipe.changed else "")


def _hardware(record: RunRecord) -> str:
    environment = record.environment
    device = environment.get("device_type", "unknown")
    if device != "cpu":
        return f"{environment.get('device_name', device)} × {environment.get('num_processes', 1)}"
    threads = f" × {environment.get('num_threads')} threads"
    return f"{device} × {environment.get('num_processes', 1)}{threads}"


def _wall_s(record: RunRecord, *, alone: bool) -> float:
    """Wall time; beside others less the start, which runs of one process share unevenly."""
    shared: tuple[Phase, ...] = () if alone else ("import", "startup", "data")
    return record.wall_s - sum(record.phases_s.get(phase, 0.0) for phase in shared)


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
