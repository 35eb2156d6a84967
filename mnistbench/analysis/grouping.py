"""Runs that differ in nothing but their seed, taken together, and what they say as one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from mnistbench.analysis.reference_bands import check_group
from mnistbench.analysis.scoring import TargetScore, score_target
from mnistbench.analysis.stability import is_profiled, is_unstable, ran_beside_others
from mnistbench.schema.record import Phase, RunRecord, finite
from mnistbench.schema.reference import ReferenceCurve
from mnistbench.schema.training_fields import SAME_RUN, as_left_to_the_run
from mnistbench.stats.intervals import Estimate, complete_mean, mean_interval

__all__ = [
    "accuracy_by_epoch",
    "counted",
    "differences",
    "group_labels",
    "group_runs",
    "identify",
    "identity",
    "run_name",
    "summarise",
    "target_values",
]

_SHOWN = ("device_name", "num_processes", "num_threads", "mixed_precision")
"""What tells environments apart and has a column of its own."""

_CODE = ("git_commit", "git_dirty")


def group_runs(
    records: Iterable[RunRecord], *, across_commits: bool = False
) -> list[list[RunRecord]]:
    """Runs that differ in nothing but their seed, together, in order of first appearance.

    With `across_commits` they may be of several commits too, as a folder's are when one lands
    meanwhile.

    A seed that was run again counts once: a repeat is no second sample. Its newest run counts, but
    one that was interrupted or failed never hides one that came to an end of its own. Profiled runs
    are never together with others.
    """
    groups: dict[str, dict[int, RunRecord]] = {}
    for record in records:
        seeds = groups.setdefault(_key(record, across_commits=across_commits), {})
        before = seeds.get(record.seed)
        if before is None or _rank(before) <= _rank(record):
            seeds[record.seed] = record
    return [list(seeds.values()) for seeds in groups.values()]


def counted(group: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs that speeds and accuracies are of: the completed ones, or all where none is.

    For its time to a target a group counts in full, whatever became of its runs.
    """
    return [record for record in group if record.status == "completed"] or list(group)


def summarise(
    group: Sequence[RunRecord], *, references: Sequence[ReferenceCurve] = ()
) -> dict[str, Any]:
    """One row in full precision: numbers as they are, estimates as mean, half width and n."""
    first, runs = group[0], counted(group)
    target = first.result.target_accuracy
    score = target_values(score_target(group, target)) if target is not None else {}
    return _what(first) | {
        "samples_per_s": _estimate(r.throughput.samples_per_s for r in runs),
        "epochs": runs[0].num_epochs if len({r.num_epochs for r in runs}) == 1 else None,
        "val_accuracy": _estimate(r.result.val_accuracy for r in runs),
        "test_accuracy": _estimate(r.result.test_accuracy for r in runs),
        "target_accuracy": target,
        "time_to_accuracy_s": score.get("time_to_accuracy_s"),
        "expected_time_s": score.get("expected_time_s"),
        "train_s": _estimate(r.phases_s.get("train") for r in runs),
        "wall_s": _estimate(_wall_s(r, alone=len(runs) == 1) for r in runs),
        "reference": check_group(group, references),
        **_which(group),
    }


def identify(group: Sequence[RunRecord]) -> dict[str, Any]:
    """What was run and which runs it was, as `summarise` has them, without their figures."""
    return _what(group[0]) | _which(group)


def target_values(score: TargetScore) -> dict[str, Any]:
    """`score` as rows and files have it: times in seconds, ``None`` where it was not reached."""

    def median(part: Any) -> dict[str, Any]:
        reached = {"reached": part.reached, "of": part.n}
        return {"median": part.median, "low": part.low, "high": part.high} | reached

    expected = score.expected_s
    return {
        "time_to_accuracy_s": median(score.time_s),
        "steps_to_accuracy": median(score.steps),
        "expected_time_s": {"time": expected.time, "low": expected.low, "high": expected.high},
    }


def accuracy_by_epoch(group: Sequence[RunRecord]) -> dict[int, Estimate]:
    """The accuracy of every whole epoch after which every run that counts was evaluated."""
    curves = [
        {
            int(point.epoch): point.accuracy
            for point in record.eval_points
            if point.split == record.config.get("eval_split") and point.epoch == int(point.epoch)
        }
        for record in counted(group)
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
    named = [(run_name(group[0]), identity(group[0])) for group in groups]
    texts = []
    for name, values in named:
        same = [other for its, other in named if its == name]
        varying = [
            key
            for key, value in values.items()
            if key not in _SHOWN and any(other.get(key) != value for other in same)
        ]
        texts.append(", ".join(f"{key} {values[key]}" for key in varying))
    return texts


def run_name(record: RunRecord) -> str:
    """The recipe, starred where it was changed; without one, the model and the loss."""
    if record.recipe is None:
        return f"{record.config.get('model')}, {record.config.get('loss')}"
    return record.recipe.name + ("*" if record.recipe.changed else "")


def _what(first: RunRecord) -> dict[str, Any]:
    return {
        "recipe": run_name(first),
        "model": first.config.get("model"),
        "loss": first.config.get("loss"),
        "dataset": first.dataset.name if first.dataset else None,
        "source": first.dataset.source if first.dataset else None,
        "device": _hardware(first),
        "precision": first.environment.get("mixed_precision"),
        "loop": f"{_loop(first)}/{first.config.get('loader')}",
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


def _loop(record: RunRecord) -> str:
    """The loop, and how its steps were run."""
    loop, floor = str(record.config.get("loop")), record.environment.get("loop_floor")
    return loop if floor in {None, loop} else f"{loop} {floor}"


def _which(group: Sequence[RunRecord]) -> dict[str, Any]:
    known = [record for record in group if record.canary]
    told = [record for record in group if record.environment.get("measured_alone") is not None]
    return {
        "unstable_runs": sum(map(is_unstable, known)) if known else None,
        "runs_beside_others": sum(map(ran_beside_others, told)) if told else None,
        "profiled_runs": sum(map(is_profiled, group)),
        "n": len(group),
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


def _rank(record: RunRecord) -> tuple[bool, str]:
    return record.status in {"completed", "diverged"}, record.created_at


def _status(group: Sequence[RunRecord]) -> str:
    """The status of all, or how many have which."""
    counts = Counter(record.status for record in group)
    if len(counts) == 1:
        return group[0].status
    return ", ".join(f"{number} {status}" for status, number in counts.most_common())


def _key(record: RunRecord, *, across_commits: bool) -> str:
    left_out = _CODE if across_commits else ()
    values = {k: v for k, v in identity(record).items() if k not in left_out}
    values["profiled"] = is_profiled(record)
    return json.dumps(values, sort_keys=True, default=str)


def identity(record: RunRecord) -> dict[str, Any]:
    """All that makes a run this run, apart from its seed and its outcome."""
    values = as_left_to_the_run(record.config)
    config = {k: v for k, v in values.items() if k not in SAME_RUN}
    environment = {k: record.environment.get(k) for k in (*_SHOWN, *_CODE)}
    if environment["git_commit"]:
        environment["git_commit"] = str(environment["git_commit"])[:10]
    versions = record.environment.get("versions") or {}
    # not where the data came from: downloaded today, local tomorrow, the same bytes
    data = {"data sha256": record.dataset.sha256[:12]} if record.dataset else {}
    hooks = record.profile.hooks if record.profile else []
    watched = {"hooks": ", ".join(hooks)} if hooks else {}
    return config | environment | versions | data | watched


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


def _estimate(values: Iterable[float | None]) -> dict[str, Any] | None:
    found = complete_mean(values)
    return found and found._asdict()
