"""Runs that differ in nothing but their seed, taken together, and what they say as one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from mnistbench.analysis.differences import CODE, SHOWN, identity, is_source
from mnistbench.analysis.metrics import METRICS, Level
from mnistbench.analysis.number_text import NOT_MEASURED, numbered, setting_text, told_apart
from mnistbench.analysis.repeats import counted, one_per_seed
from mnistbench.analysis.stability import is_profiled, is_unstable, ran_beside_others, stood_still
from mnistbench.schema.component import short_name
from mnistbench.schema.escaping import brief
from mnistbench.schema.record import RunRecord, finite
from mnistbench.stats.readings import Reading

_LONGEST = 60
"""Letters of a label's name and settings."""


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
    return [part for group in groups.values() for part in _by_batch(group)]


def _by_batch(runs: list[RunRecord]) -> list[list[RunRecord]]:
    """`runs` of a loop whose configuration need not tell the batch, by what its steps had.

    Those that did not come to tell it, as failed ones, are with the first.
    """
    told = [run.environment.get("global_batch_size") for run in runs]
    sizes = dict.fromkeys(size for size in told if size is not None)
    if len(sizes) < 2 or not runs[0].is_foreign:
        return [runs]
    first = next(iter(sizes))
    sized = [first if size is None else size for size in told]
    return [[run for run, its in zip(runs, sized, strict=True) if its == size] for size in sizes]


def identify(group: Sequence[RunRecord]) -> dict[str, Any]:
    """What was run, which runs it was, and how many epochs they trained if all trained as many."""
    first = group[0]  # a loop that is not ours need not tell its epochs
    epochs = {run.num_epochs or (None if run.is_foreign else 0.0) for run in counted(group)}
    data, environment = first.dataset, first.environment
    config = first.own_config
    probed = [record for record in group if record.canary]
    told = [record for record in group if record.environment.get("measured_alone") is not None]
    watched = [record for record in group if record.stood_still_s is not None]
    return {
        "recipe": run_name(first),
        "model": config.get("model"),
        "loss": config.get("loss"),
        "dataset": data.name if data else None,
        "source": data.source if data else None,
        "device": _hardware(first),
        "precision": environment.get("mixed_precision"),
        "loop": _loop(first),
        "global_batch_size": environment.get("global_batch_size"),
        "per_device_batch_size": config.get("per_device_batch_size"),
        "num_processes": environment.get("num_processes"),
        "lr_scaling": config.get("lr_scaling"),
        "lr_factor": _quotient(environment.get("lr_peak"), config.get("lr")),
        "unstable_runs": sum(map(is_unstable, probed)) if probed else None,
        "runs_beside_others": sum(map(ran_beside_others, told)) if told else None,
        "profiled_runs": sum(map(is_profiled, group)),
        "runs_that_stood_still": sum(map(stood_still, watched)) if watched else None,
        "n": len(group),
        "num_seeds": len(one_per_seed(group)),
        "completed": sum(record.status == "completed" for record in group),
        "seeds": [record.seed for record in group],
        "status": _status(group),
        "run_ids": [record.run_id for record in group],
        "epochs": epochs.pop() if len(epochs) == 1 else None,
    }


def accuracy_by_epoch(group: Sequence[RunRecord]) -> dict[int, Level]:
    """The accuracy of every whole epoch after which every seed that counts was evaluated."""
    curves = [
        {
            int(point.epoch): Reading.of(point.accuracy)
            for point in record.eval_points
            if point.split == record.eval_split and point.accuracy is not None
            if point.epoch is not None and point.epoch == int(point.epoch)
        }
        for record in one_per_seed(counted(group))
    ]
    shared = set.intersection(*(set(curve) for curve in curves))
    level = METRICS["val_accuracy"].level
    return {epoch: level([c[epoch] for c in curves]) for epoch in sorted(shared)}


def group_labels(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """A short name for each group; those that would be told apart by nothing are numbered."""
    labels = [_label(group, name) for group, name in zip(groups, full_names(groups), strict=True)]
    for key in ("device", "precision", "global_batch_size"):
        labels = told_apart(labels, [setting_text(identify(group)[key]) for group in groups])
    return numbered(labels)


def full_names(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """The name of each group with what sets it apart from others of that name."""
    named = zip(groups, differences(groups), strict=True)
    return [", ".join(filter(None, (run_name(group[0]), differs))) for group, differs in named]


def differences(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """For each group what no column shows and sets it apart from others of the same name.

    All groups of a name say the same settings, with a dash where one has none.
    """
    named = _named(groups)
    apart = _apart(named)
    return [
        ", ".join(brief(f"{k} {setting_text(its.get(k))}", 2 * _LONGEST) for k in apart[name])
        for name, its in named
    ]


def settings_apart(groups: Sequence[Sequence[RunRecord]]) -> list[dict[str, str]]:
    """The same as columns: of all groups every setting in which any of one name differ."""
    named = _named(groups)
    columns = dict.fromkeys(key for keys in _apart(named).values() for key in keys)
    return [{key: setting_text(its.get(key)) for key in columns} for _, its in named]


def _named(groups: Sequence[Sequence[RunRecord]]) -> list[tuple[str, dict[str, Any]]]:
    return [(run_name(group[0]), identity(group[0])) for group in groups]


def _apart(named: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, list[str]]:
    """For each name the settings in which those of it differ.

    That some use a file of the user's own and others do not, their components say already.
    """
    first: dict[str, dict[str, Any]] = {}
    apart: dict[str, list[str]] = {}
    for name, values in named:  # where one differs from another, one differs from the first
        one = first.setdefault(name, values)
        told = apart.setdefault(name, [])
        known = {*SHOWN, "device_type", *told}
        told += [k for k in {**one, **values} if k not in known and values.get(k) != one.get(k)]
    contents = {(name, k, v) for name, its in named for k, v in its.items() if is_source(k)}
    seen = Counter((name, k) for name, k, _ in contents)
    return {
        name: [k for k in told if not is_source(k) or seen[name, k] > 1]
        for name, told in apart.items()
    }


def run_name(record: RunRecord) -> str:
    """The recipe, starred where it was changed; without one, the model and the loss, in short.

    Of a loop that is not ours it is the name that it was given.
    """
    if record.is_foreign and record.workload:
        return record.workload.name
    if record.recipe is not None:
        return record.recipe.name + ("*" if record.recipe.changed else "")
    told = [short_name(str(record.config[k])) for k in ("model", "loss") if record.config.get(k)]
    if not told and record.num_parameters:
        told = [f"{record.num_parameters:,} parameters"]
    return ", ".join(told) or "not named"


def _quotient(part: Any, whole: Any) -> float | None:
    known = isinstance(part, int | float) and isinstance(whole, int | float) and whole > 0
    return finite(part / whole) if known else None


def _loop(record: RunRecord) -> str | None:
    """The loop, how its steps were run, and the loader; ``None`` if the run does not say."""
    loop, floor = record.own_config.get("loop"), record.environment.get("loop_floor")
    if loop is None:
        return None
    mode = "" if floor in (None, loop) else f" {floor}"
    return f"{loop}{mode}/{record.config.get('loader')}"


def _label(group: Sequence[RunRecord], name: str) -> str:
    """What was trained, on what, and over how many seeds."""
    first, n = group[0], len(counted(group))
    data = f" on {first.dataset.name}" if first.dataset else " on no data" * (not first.is_foreign)
    size = f"{n} of {len(group)}" if n < len(group) else str(n)
    what = f"{brief(name, _LONGEST)}{data}" + ", profiled" * is_profiled(first)
    return what + (f" (n = {size})" if len(group) > 1 else "")


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


def _hardware(record: RunRecord) -> str:
    environment = record.environment
    device, count = (
        str(environment.get("device_type", "unknown")),
        environment.get("num_processes", 1),
    )
    if record.is_foreign and "device_type" not in environment:
        return NOT_MEASURED
    if device != "cpu":
        return f"{environment.get('device_name', device)} × {count}"
    threads = environment.get("num_threads")
    untold = threads is None and record.is_foreign
    return f"{device} × {count}" + ("" if untold else f" × {threads} threads")
