"""One metric on two sides, value by value: medians, the change from A to B, and its test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import NamedTuple

from mnistbench.analysis.metrics import Metric
from mnistbench.stats.rank_tests import Shift, rank_test, seeds_needed, shift
from mnistbench.stats.readings import Reading
from mnistbench.stats.survival import at_risk, log_rank, median_reading

__all__ = ["Level", "Sample", "level", "ratio_of_medians"]

_WORTH_SEEING_RATIO = 0.05
_WORTH_SEEING_ACCURACY = 0.002
_MOST_LOG_RATIO = 700.0
"""Just below what a float can hold."""


class Level(NamedTuple):
    """The median of one side; ``None`` if not measured, or if less than half `reached` it."""

    median: float | None
    n: int
    reached: int


@dataclass(frozen=True)
class Sample:
    """The readings of A and of B; if `paired`, ``a[i]`` and ``b[i]`` were taken in turn."""

    metric: Metric
    a: tuple[Reading, ...]
    b: tuple[Reading, ...]
    paired: bool

    @property
    def n(self) -> int:
        """Values of the smaller side."""
        return min(len(self.a), len(self.b))

    @property
    def censored(self) -> bool:
        """Whether any run ended before it reached what is timed."""
        return not all(reading.reached for reading in (*self.a, *self.b))

    @property
    def in_pairs(self) -> bool:
        """Whether it is tested pair by pair, which the log-rank test cannot do."""
        return self.paired and not self.censored

    def problem(self) -> str | None:
        """Why nothing can be said of these values, if so."""
        missing = [side for side, values in (("A", self.a), ("B", self.b)) if not values]
        if missing:
            what = "no target accuracy" if self.metric.to_target else "not measured"
            return f"{what} in {' and '.join(missing)}"
        values = [reading.value for reading in (*self.a, *self.b)]
        if self.metric.ratio and not self.censored:
            if min(values) <= 0:
                return "a value of 0 has no ratio"
            if math.log(max(values)) - math.log(min(values)) > _MOST_LOG_RATIO:
                return "values too far apart for a ratio"
        return None

    def p_value(self) -> float:
        """The two-sided chance of such a difference between two things that are the same.

        Ranks, paired or not; the log-rank test where a run was censored. Exact, so that few runs
        give a p that cannot be small.
        """
        if self.censored:
            both = (*self.a, *self.b)
            return log_rank(*at_risk(self.a, among=both), *at_risk(self.b, among=both))
        return rank_test(self._scaled(self.a), self._scaled(self.b), paired=self.paired)

    def change(self, *, confidence: float = 0.95) -> Shift | None:
        """From A to B as a fraction of A, or as a difference for accuracies, with its interval.

        Of censored times the ratio of medians alone: ``None`` if one was not reached.
        """
        if self.censored:
            return ratio_of_medians(level(self.a, self.metric), level(self.b, self.metric))
        found = shift(
            self._scaled(self.a), self._scaled(self.b), paired=self.paired, confidence=confidence
        )
        if not self.metric.ratio:
            return found
        if found.low is None or found.high is None:
            return Shift(math.expm1(found.estimate), None, None)
        return Shift(*(math.expm1(x) for x in (found.estimate, found.low, found.high)))

    def direction(self) -> float:
        """Above 0 where B's figure is higher than A's, below 0 where lower, 0 where unclear."""
        change = self.change()
        if change is not None and change.estimate != 0:
            return change.estimate
        share_a, share_b = (
            sum(reading.reached for reading in side) / len(side) for side in (self.a, self.b)
        )
        return share_a - share_b  # the fewer got there, the longer it takes

    def lacking(self, alpha: float) -> int:
        """How many more each side needs for any difference at all to be significant at `alpha`."""
        n_a, n_b, more = len(self.a), len(self.b), 0
        while 2 / self._ways(n_a + more, n_b + more) >= alpha:
            more += 1
        return more

    def runs_needed(self, alpha: float, *, change: float | None = None) -> int | None:
        """Runs each side needs to find `change` in nine of ten comparisons tested at `alpha`.

        `change` is by default what is worth seeing: 5 %, or 0.2 points of accuracy. ``None`` where
        the spread is not known: fewer than two values a side, or censored times.
        """
        if self.censored or self.n < 2:
            return None
        if self.metric.ratio:
            size = math.log1p(abs(change or _WORTH_SEEING_RATIO))
        else:
            size = abs(change or _WORTH_SEEING_ACCURACY)
        a, b = self._scaled(self.a), self._scaled(self.b)
        return seeds_needed(a, b, difference=size, paired=self.paired, alpha=alpha)

    def moved(self, change: float) -> Sample:
        """The same with `change` taken out of B again."""
        if self.metric.ratio:
            b = tuple(Reading(r.low / (1 + change), r.high / (1 + change)) for r in self.b)
        else:
            b = tuple(Reading(r.low - change, r.high - change) for r in self.b)
        return replace(self, b=b)

    def _ways(self, n_a: int, n_b: int) -> int:
        """The outcomes that are equally likely where A and B are the same."""
        return 2**n_a if self.in_pairs else math.comb(n_a + n_b, n_a)

    def _scaled(self, readings: Sequence[Reading]) -> list[float]:
        return [math.log(r.value) if self.metric.ratio else r.value for r in readings]


def level(readings: Sequence[Reading], metric: Metric) -> Level:
    """The median of `readings`, by Kaplan and Meier (1958) for times to a target."""
    reached = sum(reading.reached for reading in readings)
    if not readings:
        return Level(None, 0, 0)
    if not metric.to_target:
        return Level(median(reading.value for reading in readings), len(readings), reached)
    return Level(median_reading(readings).median, len(readings), reached)


def ratio_of_medians(a: Level, b: Level) -> Shift | None:
    """From A to B as a fraction of A, without an interval; ``None`` where a median is missing."""
    if a.median is None or b.median is None or a.median <= 0:
        return None
    return Shift(b.median / a.median - 1, None, None)
