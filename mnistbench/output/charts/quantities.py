"""What curves are drawn of: accuracy and other metrics that loops evaluate, and training loss."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from mnistbench.analysis.metrics import Metric
from mnistbench.analysis.number_text import goal
from mnistbench.analysis.reported_metrics import free_metrics
from mnistbench.output.charts.curves import Curve, evaluated_curve, loss_curve, shared_axis
from mnistbench.output.charts.picture import Scale
from mnistbench.schema.record import RunRecord

__all__ = ["Quantity", "quantities_of"]


class Quantity(NamedTuple):
    """What is drawn against epochs, or steps where not all loops count epochs.

    `form` is of the values at the ends of lines, if they are told; where it `falls` less is better;
    `goals` are targets of it.
    """

    name: str
    by: str
    label: str
    scale: Scale
    read: Callable[[RunRecord], Curve]
    form: str = ""
    falls: bool = False
    goals: Mapping[float, str] = MappingProxyType({})

    @property
    def title(self) -> str:
        """Such as ``val accuracy by epoch``."""
        return f"{self.label.removesuffix(' (%)')} by {self.by}"


def quantities_of(groups: Sequence[Sequence[RunRecord]]) -> list[Quantity]:
    """Accuracy and what else loops evaluated, on the split that steers, and training loss."""
    runs = [record for group in groups for record in group]
    by = shared_axis(runs)
    found = [_accuracy(runs, by)]
    found += [_evaluated(name, metric, runs, by) for name, metric in free_metrics(groups).items()]
    found = [one for one in found if one.name != "accuracy" or one is found[0]]
    name = "training-loss" if any(one.name == "loss" for one in found) else "loss"
    return [*found, Quantity(name, by, "training loss", "log", partial(loss_curve, by=by))]


def _accuracy(runs: Sequence[RunRecord], by: str) -> Quantity:
    read = partial(evaluated_curve, metric="accuracy", by=by)
    splits = {str(run.eval_split) for run in runs if not run.is_foreign or read(run)[0]}
    goals = {100 * value: text for value, text in _goals("accuracy", runs).items()}
    label = f"{' / '.join(sorted(splits))} accuracy (%)"
    return Quantity("accuracy", by, label, "error", read, "{:.2f} %", goals=goals)


def _evaluated(name: str, metric: Metric, runs: Sequence[RunRecord], by: str) -> Quantity:
    """A metric by its own name; one of which less is better is logarithmic where it can be."""
    read, falls = partial(evaluated_curve, metric=name, by=by), not metric.higher_is_better
    values = [value for run in runs for value in read(run)[1]]
    scale: Scale = "log" if falls and min(values, default=0.0) > 0 else "linear"
    file = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "metric"
    return Quantity(file, by, metric.label, scale, read, "{:.4g}", falls, _goals(name, runs))


def _goals(metric: str, runs: Sequence[RunRecord]) -> dict[float, str]:
    """The targets of `metric` that loops which are not ours had."""
    targets = (run.target for run in runs if run.is_foreign)
    return {t.value: goal(t) for t in targets if t and t.metric == metric}
