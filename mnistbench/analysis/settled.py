"""Whether runs that are taken in turn are enough: the metric is settled, or nothing can be."""

from __future__ import annotations

from collections.abc import Sequence

from mnistbench.analysis.comparability import not_alike
from mnistbench.analysis.metrics import METRICS, MetricName
from mnistbench.analysis.samples import Match, sample_of
from mnistbench.stats.sequential_test import ALPHA, is_due, look_factor

__all__ = ["all_settled", "settled"]


def all_settled(
    matches: Sequence[Match],
    *,
    metric: MetricName,
    min_effect: float | None = None,
    target_accuracy: float | None = None,
    force: bool = False,
) -> str | None:
    """Why no more runs of any of `matches`, which have one baseline, are needed, if so.

    Each is `settled` at its share of the error or, without `force`, cannot be compared.
    """
    reasons = []
    for match in matches:
        problem = not_alike(match, METRICS[metric], target_accuracy=target_accuracy)
        reason = f"not comparable: {problem}" if problem and not force else None
        reason = reason or settled(
            match,
            metric=metric,
            min_effect=min_effect,
            target_accuracy=target_accuracy,
            comparisons=len(matches),
        )
        if reason is None:
            return None
        reasons.append(reason)
    return "; ".join(dict.fromkeys(reasons))


def settled(
    match: Match,
    *,
    metric: MetricName = "samples_per_s",
    min_effect: float | None = None,
    target_accuracy: float | None = None,
    comparisons: int = 1,
) -> str | None:
    """Why no more runs are needed, if it is time to look and `metric` is settled.

    That is when A and B differ, or when the whole interval of the change lies within `min_effect`,
    a fraction of A (by default 0.02) or, for accuracies, a difference (0.002); or, at any time, if
    there is nothing to test. Where `comparisons` with one baseline are to be settled together they
    share the error (Bonferroni).
    """
    sample = sample_of(match, METRICS[metric], target_accuracy)
    label, problem = METRICS[metric].label, sample.problem()
    if problem:
        return f"{label} cannot be compared: {problem}"
    if not is_due(sample.n):
        return None
    factor, (a, b) = comparisons * look_factor(sample.n), match.names
    settled_after = f"settled after {sample.n} pairs"
    if factor * sample.p_value() < ALPHA and sample.direction():
        word = METRICS[metric].word(sample.direction())
        return f"{settled_after}: {b} is {word} than {a} ({label})"
    change = sample.change(confidence=1 - ALPHA / factor)
    if change is None or change.low is None or change.high is None:
        return None
    effect = min_effect or (0.02 if METRICS[metric].ratio else 0.002)
    if -effect < change.low and change.high < effect:
        size = f"{100 * effect:g} {'%' if METRICS[metric].ratio else 'points'}"
        return f"{settled_after}: no difference in {label} larger than {size} between {a} and {b}"
    return None
