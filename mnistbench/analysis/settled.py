"""Whether runs that are taken in turn are enough: the metric is settled, or nothing can be."""

from __future__ import annotations

from collections.abc import Sequence

from mnistbench.analysis.metrics import METRICS, MetricName
from mnistbench.analysis.pairing import as_one
from mnistbench.analysis.samples import sample_of
from mnistbench.schema.record import RunRecord
from mnistbench.stats.sequential_test import ALPHA, is_due, look_factor

__all__ = ["settled"]


def settled(
    a: Sequence[RunRecord],
    b: Sequence[RunRecord],
    *,
    metric: MetricName = "samples_per_s",
    min_effect: float | None = None,
    target_accuracy: float | None = None,
) -> str | None:
    """Why no more runs are needed, if it is time to look and `metric` is settled.

    That is when A and B differ, or when the whole interval of the change lies within `min_effect`,
    a fraction of A (by default 0.02) or, for accuracies, a difference (0.002); or, at any time, if
    there is nothing to test.
    """
    sample = sample_of(as_one(a, b), METRICS[metric], target_accuracy)
    label, problem = METRICS[metric].label, sample.problem()
    if problem:
        return f"{label} cannot be compared: {problem}"
    if not is_due(sample.n):
        return None
    factor = look_factor(sample.n)
    settled_after = f"settled after {sample.n} pairs"
    if factor * sample.p_value() < ALPHA and sample.direction():
        return f"{settled_after}: B is {METRICS[metric].word(sample.direction())} ({label})"
    change = sample.change(confidence=1 - ALPHA / factor)
    if change is None or change.low is None or change.high is None:
        return None
    effect = min_effect or (0.02 if METRICS[metric].ratio else 0.002)
    if -effect < change.low and change.high < effect:
        size = f"{100 * effect:g} {'%' if METRICS[metric].ratio else 'points'}"
        return f"{settled_after}: no difference in {label} larger than {size}"
    return None
