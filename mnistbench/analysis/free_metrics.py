"""Metrics by name: a row of the table, or anything that runs evaluated; which of it is shown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from mnistbench.analysis.metrics import (
    DATA,
    METRICS,
    Asked,
    Metric,
    accuracy_metric,
    learnt,
    told_target,
)
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord, Target
from mnistbench.schema.suggestions import did_you_mean
from mnistbench.schema.target import is_lower_better
from mnistbench.stats.readings import Reading

ALIASES: Mapping[str, str] = {
    "time_to_target_s": "time_to_accuracy_s",
    "steps_to_target": "steps_to_accuracy",
}
"""Other names of rows of the table, whose targets may be of any metric."""

_OURS = ("accuracy", "loss")
_MOST_SHOWN = 4


def canonical(name: str) -> str:
    """The name that the table has for `name`; any other stays as it is."""
    known = ALIASES.get(name.lower(), name.lower())
    return known if known in METRICS else name


def last_value(record: RunRecord, name: str) -> float | None:
    """The last evaluation of metric `name`, or ``SPLIT/METRIC``, of `record`.

    It is of the split that steers, where none is named.
    """
    if name in record.metrics:
        return record.metrics[name]
    split, slash, metric = name.partition("/")
    places = [(record.eval_split, name), *([(split, metric)] if slash else [])]
    found = (
        value
        for its, metric in places
        for point in reversed(record.eval_points)
        if its in {None, point.split} and (value := point.value_of(metric)) is not None
    )
    return next(found, None)


def evaluated_names(records: Iterable[RunRecord]) -> list[str]:
    """Names of all metrics that any of `records` evaluated."""
    names: dict[str, None] = {}
    for record in records:
        names |= dict.fromkeys(record.metrics)
        for point in record.eval_points:
            both = (("accuracy", point.accuracy), ("loss", point.loss))
            names |= dict.fromkeys(name for name, value in both if value is not None)
            names |= dict.fromkeys(point.metrics)
    return list(names)


def check_name(
    name: str,
    evaluated: Iterable[str] = _OURS,
    *,
    field: str = "metrics",
    unfit: Collection[str] = (),
) -> str:
    """`name` as the table has it, or one of what is `evaluated`, as by default our own loop does.

    Raises:
        InputError: it is neither, or `unfit`; the message begins with `field` and lists what fits.
    """
    known = canonical(name)
    fits = [*evaluated, *(metric for metric in METRICS if metric not in unfit)]
    if known in fits:
        return known
    listed = ", ".join(metric for metric in fits if metric != "duration_s")
    near = did_you_mean(name, [*fits, *ALIASES])
    raise InputError(f"{field}: unknown metric {name!r}{near or f'; use one of {listed}'}")


def metric_named(name: str, records: Sequence[RunRecord], *, field: str = "metrics") -> Metric:
    """The metric that is called so: of the table, or one that `records` evaluated.

    Of these it is the last value that counts. Which way is better says the target of a run that has
    one of it, else its name. Changes are fractions, or differences where a value is not above 0;
    those of an accuracy are in points.

    Raises:
        InputError: as `check_name`; no record has it.
    """
    if (known := METRICS.get(canonical(name))) is not None:
        return known
    values = [value for r in records if (value := last_value(r, name)) is not None]
    if not values:
        check_name(name, evaluated_names(records), field=field)
        raise InputError(f"{field}: {name} has no value in any run")

    def read(record: RunRecord, _asked: Asked) -> Reading | None:
        value = last_value(record, name)
        return None if value is None else Reading.of(value)

    last = name.replace(":", "/").rpartition("/")[2]
    its_loss = ("loss", "code of the loss") if last == "loss" else ()
    needs = (*DATA, "num_val", "eval_split", *its_loss)
    if last == "accuracy" and all(0 <= value <= 1 for value in values):
        return accuracy_metric(label=name, read=read, needs=needs)
    targets = (r.target for r in records if r.target and r.target.metric == name)
    told = next((target.higher_is_better for target in targets), None)
    ratio = min(values) > 0
    return learnt(
        label=name,
        read=read,
        digits=".4g",
        higher_is_better=not is_lower_better(name) if told is None else told,
        ratio=ratio,
        change_unit=" %" if ratio else "",
        worth_seeing=0.05 if ratio else 0.05 * abs(median(values)),
        needs=needs,
    )


def free_metrics(groups: Sequence[Sequence[RunRecord]]) -> dict[str, Metric]:
    """What loops that are not ours evaluated, up to four metrics, those of targets first.

    Each is labelled by its split. An accuracy on val or test is there already.
    """
    runs = [run for group in groups for run in group if run.is_foreign]
    named = dict.fromkeys(run.target.metric for run in runs if run.target)
    named |= dict.fromkeys(evaluated_names(runs))
    known = [name for name in named if any(last_value(run, name) is not None for run in runs)]
    told = [run for run in runs if last_value(run, "accuracy") is not None]
    if all(run.result.val_accuracy is not None or run.eval_split == "test" for run in told):
        known = [name for name in known if name != "accuracy"]
    splits = "/".join(sorted({run.eval_split for run in runs if run.eval_split}))
    found = {name: metric_named(name, runs) for name in known[:_MOST_SHOWN]}
    return {
        name: replace(
            metric, label=name if name.startswith(f"{splits}/") else f"{splits} {name}".strip()
        )
        for name, metric in found.items()
    }


def scored_at(group: Sequence[RunRecord], targets: Sequence[float]) -> list[Target | float]:
    """The accuracies `targets` of runs that evaluate one; without these their own target."""
    if not targets:
        return [*filter(None, [told_target(group)])]
    points = (point for run in group for point in run.eval_points if point.split == run.eval_split)
    known = not group[0].is_foreign or any(point.accuracy is not None for point in points)
    return [*targets] if known else []
