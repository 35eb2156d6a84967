"""Whether runs that are taken in turn are enough: the metric is settled, or nothing can be."""

from __future__ import annotations

from collections.abc import Sequence

from mnistbench.analysis.comparability import not_alike
from mnistbench.analysis.free_metrics import metric_named
from mnistbench.analysis.metrics import Asked
from mnistbench.analysis.samples import Match, Sample, sample_of
from mnistbench.stats.sequential_test import ALPHA, is_due, look_factor


def settled(
    matches: Sequence[Match],
    *,
    metric: str = "samples_per_s",
    min_effect: float | None = None,
    target_accuracy: Asked = None,
    force: bool = False,
) -> str | None:
    """Why no more runs are needed, if it is time to look and `metric` is settled in all `matches`.

    That is when A and B differ, or when the whole interval of the change lies within `min_effect`,
    a fraction of A (by default 0.02) or a difference (of accuracies 0.002); or, at any time, if
    there is nothing to test or, without `force`, they cannot be compared. Matches, which have one
    baseline, share the error of the test (Bonferroni).
    """
    reasons = []
    its = metric_named(metric, [run for match in matches for run in (*match.a, *match.b)])
    for match in matches:
        sample = sample_of(match, its, target_accuracy)
        problem = not_alike(match, its, asked=target_accuracy)
        reason = f"not comparable: {problem}" if problem and not force else None
        reason = reason or _settled(sample, min_effect, comparisons=len(matches))
        if reason is None:
            return None
        reasons.append(reason)
    return "; ".join(dict.fromkeys(reasons))


def _settled(sample: Sample, min_effect: float | None, *, comparisons: int) -> str | None:
    metric, (a, b) = sample.metric, sample.names
    if problem := sample.problem():
        return f"{metric.label} cannot be compared: {problem}"
    if not is_due(sample.n):
        return None
    factor = comparisons * look_factor(sample.n)
    settled_after = f"settled after {sample.n} pairs"
    if factor * sample.p_value() < ALPHA and sample.direction():
        word = metric.with_sense(metric.word(sample.direction()))
        return f"{settled_after}: {b} is {word} than {a} ({metric.label})"
    change = sample.change(confidence=1 - ALPHA / factor)
    if change is None or change.low is None or change.high is None:
        return None
    effect = min_effect or (0.02 if metric.ratio else metric.worth_seeing)
    if -effect < change.low and change.high < effect:
        size = metric.change_text(effect)
        what = f"no difference in {metric.label} larger than {size} between {a} and {b}"
        return f"{settled_after}: {what}"
    return None
