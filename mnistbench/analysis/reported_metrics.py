"""Which metrics of a loop that is not ours reports show, and which targets they score."""

from __future__ import annotations

from collections.abc import Sequence

from mnistbench.analysis.free_metrics import evaluated_names, last_value, metric_named
from mnistbench.analysis.metrics import Metric, told_target
from mnistbench.schema.record import RunRecord, Target

__all__ = ["free_metrics", "scored_at"]

_MOST = 4


def free_metrics(groups: Sequence[Sequence[RunRecord]]) -> dict[str, Metric]:
    """What loops that are not ours evaluated, up to four metrics, those of targets first.

    An accuracy on val or test is there already.
    """
    runs = [run for group in groups for run in group if run.is_foreign]
    named = dict.fromkeys(run.target.metric for run in runs if run.target)
    named |= dict.fromkeys(evaluated_names(runs))
    known = [name for name in named if any(last_value(run, name) is not None for run in runs)]
    if all(run.result.val_accuracy is not None or run.eval_split == "test" for run in runs):
        known = [name for name in known if name != "accuracy"]
    return {name: metric_named(name, runs) for name in known[:_MOST]}


def scored_at(group: Sequence[RunRecord], targets: Sequence[float]) -> list[Target | float]:
    """The accuracies `targets` of runs that evaluate one; without these their own target."""
    if not targets:
        return [*filter(None, [told_target(group)])]
    evaluated = (p.accuracy for run in group for p in run.eval_points)
    known = not group[0].is_foreign or any(accuracy is not None for accuracy in evaluated)
    return [*targets] if known else []
