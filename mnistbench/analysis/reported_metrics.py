"""Which metrics of a loop that is not ours reports show, and which targets they score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mnistbench.analysis.free_metrics import evaluated_names, last_value, metric_named
from mnistbench.analysis.metrics import Metric, told_target
from mnistbench.schema.record import RunRecord, Target

__all__ = ["free_metrics", "scored_at"]

_MOST = 4


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
    found = {name: metric_named(name, runs) for name in known[:_MOST]}
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
