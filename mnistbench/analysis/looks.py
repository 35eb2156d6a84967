"""When to stop adding runs: repeated looks at one metric with the error of a single test.

Look k is a test at level 0.05 / (k (k + 1)). These sum to 0.05, so that by Boole's inequality two
things that are the same are told apart by any of the looks in at most one comparison of twenty, and
the interval at that level is a repeated confidence interval (Jennison and Turnbull 1989).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile

from mnistbench.analysis.metrics import METRICS, MetricName
from mnistbench.analysis.sides import as_one, sample_of
from mnistbench.schema.record import RunRecord

__all__ = ["ALPHA", "look_factor", "looks", "settled"]

ALPHA = 0.05
"""The chance that things that are the same are told apart: by a table, or by all looks."""

_FIRST_LOOK = 8


def looks() -> Iterator[int]:
    """The pairs after which to look: 8, 11, 15, 20, 27, 36, 48 … each a third more."""
    n = _FIRST_LOOK
    while True:
        yield n
        n = -(-4 * n // 3)


def look_factor(n: int) -> int:
    """What a p after `n` pairs is multiplied by: k (k + 1) at the k-th look, or the one due next.

    The last is for runs that end between two looks because time is up.
    """
    k = 1 + sum(1 for _ in takewhile(lambda due: due < n, looks()))
    return k * (k + 1)


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
    if not _is_due(sample.n):
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


def _is_due(n: int) -> bool:
    return n in takewhile(lambda due: due <= n, looks())
