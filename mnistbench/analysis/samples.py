"""One metric on two sides, value by value: the change from A to B, its test and its direction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, TypeVar

from mnistbench.analysis.metrics import Asked, Level, Metric
from mnistbench.analysis.repeats import one_per_seed
from mnistbench.schema.record import RunRecord
from mnistbench.stats.rank_tests import Shift, rank_test, seeds_needed, shift, shift_estimate
from mnistbench.stats.readings import Reading, ratio_spread, with_spread
from mnistbench.stats.survival import at_risk, log_rank, log_rank_excess

T = TypeVar("T")

MOST_TESTED = 500
"""Values of a side that are tested, for tests grow with the square.

So many tell 5 %, or 0.2 points, many times over.
"""

_MOST_LOG_RATIO = 700.0
"""Just below what a float can hold."""
_NOTHING = 1e-100
"""What stands for 0 on a logarithmic scale, as a part of the least upper end of a reading."""
_BEYOND = 0.001
"""The chance that seconds per step lie outside of what a test allows for; it is added to its p."""
_NO_BOUND = 1e20
"""A change beyond which an end is made of such a 0: there is no bound."""


Pair: TypeAlias = tuple[RunRecord, RunRecord]
Names: TypeAlias = tuple[str, str]
"""What sentences call the two sides of a comparison, the baseline first."""

A_AND_B: Names = ("A", "B")

Order: TypeAlias = Literal["in turn", "A first", "B first", "apart", "at the same time", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Match:
    """The runs of A and those of B that they are compared with.

    Sentences call them `names`; where one set was split, `by` is the key that they differ in.
    `order` is that in which they were taken; `pairs` holds one run of each, A's first, if in turn.
    """

    name: str
    a: tuple[RunRecord, ...]
    b: tuple[RunRecord, ...]
    order: Order
    pairs: tuple[Pair, ...]
    names: Names = A_AND_B
    by: str | None = None


@dataclass(frozen=True)
class Sample:
    """The readings of A and of B; if `paired`, ``a[i]`` and ``b[i]`` were taken in turn."""

    metric: Metric
    a: tuple[Reading, ...]
    b: tuple[Reading, ...]
    paired: bool
    names: Names = A_AND_B

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

    @property
    def levels(self) -> tuple[Level, Level]:
        """What A and B say of the metric."""
        return self.metric.level(self.a), self.metric.level(self.b)

    def problem(self) -> str | None:
        """Why nothing can be said of these values, if so."""
        sides = zip(self.names, (self.a, self.b), strict=True)
        missing = [side for side, values in sides if not values]
        if missing:
            what = "no target that was evaluated" if self.metric.to_target else "not measured"
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
        give a p that cannot be small. Of times to a target the spacing of the evaluations is taken
        out of the difference: the side that is ahead counts with the upper end of each reading,
        the other with the lower. Never surer than by the first evaluations alone. So is what
        shared factors, as of `Reading.windows`, leave open (Berger and Boos 1994).
        """
        sign = self.test_sign()
        if not self.metric.to_target or not sign:
            return self.p_of_first()
        early, late = (self.a, self.b) if sign > 0 else (self.b, self.a)
        spread = self.factor_spread(1 - _BEYOND)
        factor = math.exp(min(spread, 20.0))  # beyond it there is no verdict anyway
        early = tuple(Reading(factor * r.value, factor * r.high) for r in early)
        late = tuple(Reading(r.low, r.low if r.reached else r.high) for r in late)
        a, b = (early, late) if sign > 0 else (late, early)
        nearer = replace(self, a=a, b=b)
        if nearer.test_sign() * sign <= 0:  # the evaluations alone can turn it round
            return 1.0
        p = max(self.p_of_first(), nearer.p_of_first())
        return min(1.0, p + _BEYOND) if spread else p

    def factor_spread(self, confidence: float) -> float:
        """By how much the logarithm of B over A is uncertain for the factors of each."""
        return ratio_spread(self.a, self.b, confidence=confidence)

    def p_of_first(self) -> float:
        """The same by the upper ends alone: the first evaluations that read the target."""
        if self.censored:
            return log_rank(self._at_risk(self.a), self._at_risk(self.b))
        return rank_test(self._scaled(self.a), self._scaled(self.b), paired=self.paired)

    def change(self, *, confidence: float = 0.95) -> Shift | None:
        """From A to B as a fraction of A, or as a difference, with its interval.

        Of times to a target it is the ratio of medians, with all that the evaluations leave open in
        the interval, whose upper end is ``None`` where A may have been there at once; without one
        where a run was censored, ``None`` if a median was not reached.
        """
        if not self.metric.to_target:
            return self._shift(self.a, self.b, confidence=confidence)
        found = ratio_of_levels(*self.levels)
        if found is None or self.censored:
            return found
        first, last = ([Reading.of(r.low) for r in side] for side in (self.b, self.a))
        low = self._shift(self.a, first, confidence=confidence).low
        high = self._shift(last, self.b, confidence=confidence).high
        if low is None or high is None:
            return found
        at, most = 1 + found.estimate, None if high >= _NO_BOUND else 1 + high
        ends = min(1 + low, at), most and max(most, at)
        spread = self.factor_spread(confidence)
        low, high = (None if x is None else x - 1 for x in with_spread(at, *ends, spread))
        return Shift(found.estimate, low, high)

    def direction(self) -> float:
        """Above 0 where B's figure is higher than A's, below 0 where lower, 0 where unclear.

        By the test: the shift of the ranks or, of censored times, arrivals observed less those
        expected. Unclear where the estimates of A and B say the opposite (`contradiction`).
        """
        sign = self.test_sign()
        return 0.0 if sign * self._level_sign() < 0 else sign

    def contradiction(self) -> str | None:
        """What the test and the estimates of A and B say, where these are opposite things."""
        sign = self.test_sign()
        if not sign * self._level_sign() < 0:  # as for a median that was not reached, and no sign
            return None
        word = self.metric.word
        test = "log-rank test" if self.censored else "rank test"
        what = "means" if self.metric.estimator == "mean" else "medians"
        return f"by the {test} {self.names[1]} is {word(sign)}, by the {what} it is {word(-sign)}"

    def lacking(self, alpha: float) -> int:
        """How many more each side needs for any difference at all to be significant at `alpha`."""
        n_a, n_b, more = len(self.a), len(self.b), 0
        while 2 / self._ways(n_a + more, n_b + more) >= alpha:
            more += 1
        return more

    def runs_needed(self, alpha: float, *, change: float | None = None) -> int | None:
        """Runs each side needs to find `change` in nine of ten comparisons tested at `alpha`.

        `change` is by default what is worth seeing of the metric. ``None`` where
        the spread is not known: fewer than two values a side, or censored times; and where no
        number of runs would do, as the evaluations are further apart than that.
        """
        if self.censored or self.n < 2:
            return None
        size = abs(change or self.metric.worth_seeing)
        if not size:
            return None
        size = math.log1p(size) if self.metric.ratio else size
        if any((x.above or 0.0) * math.exp(size) < (x.at_most or 0.0) for x in self.levels):
            return None
        a, b = self._scaled(self.a), self._scaled(self.b)
        return seeds_needed(a, b, difference=size, paired=self.paired, alpha=alpha)

    def moved(self, change: float) -> Sample:
        """The same with `change` taken out of B again."""

        def back(end: float) -> float:
            return end / (1 + change) if self.metric.ratio else end - change

        moved = (r._replace(low=back(r.low), high=back(r.high)) for r in self.b)
        return replace(self, b=tuple(moved))

    def test_sign(self) -> float:
        """The direction by the test alone: above 0 where B's figure is higher than A's."""
        if self.censored:  # the fewer of A got there, the longer it takes it
            return log_rank_excess(self._at_risk(self.a), self._at_risk(self.b))
        a, b = self._scaled(self.a), self._scaled(self.b)
        return shift_estimate(a, b, paired=self.paired)

    def _level_sign(self) -> float:
        a, b = (math.inf if level.value is None else level.value for level in self.levels)
        return 0.0 if a == b else b - a

    def _at_risk(self, side: Sequence[Reading]) -> tuple[list[float], list[bool]]:
        return at_risk(side, among=(*self.a, *self.b))

    def _shift(
        self, a: Sequence[Reading], b: Sequence[Reading], *, confidence: float = 0.95
    ) -> Shift:
        found = shift(self._scaled(a), self._scaled(b), paired=self.paired, confidence=confidence)
        if not self.metric.ratio:
            return found
        low, high = (None if x is None else _ratio(x) for x in found[1:])
        return Shift(_ratio(found.estimate), low, high)

    def _ways(self, n_a: int, n_b: int) -> int:
        """The outcomes that are equally likely where A and B are the same."""
        return 2**n_a if self.in_pairs else math.comb(n_a + n_b, n_a)

    def _scaled(self, readings: Sequence[Reading]) -> list[float]:
        if not self.metric.ratio:
            return [r.value for r in readings]
        least = min(r.value for r in (*self.a, *self.b) if r.value > 0) * _NOTHING
        return [math.log(max(r.value, least)) for r in readings]


def _ratio(log: float) -> float:
    return math.expm1(min(log, _MOST_LOG_RATIO))


def evenly_spaced(values: Sequence[T], most: int = MOST_TESTED) -> tuple[T, ...]:
    """`most` of `values`, in their order and as far apart, or all where there are no more."""
    n = len(values)
    return tuple(values) if n <= most else tuple(values[i * n // most] for i in range(most))


def sample_of(match: Match, metric: Metric, asked: Asked = None) -> Sample:
    """What the runs of `match` measured of `metric`; a pair that lacks one value is left out.

    Of each side no more than `MOST_TESTED` values, evenly spaced.
    """
    pairs = match.pairs
    fewest = min((len(one_per_seed(side)) for side in zip(*pairs, strict=True)), default=0)
    if metric.independent == "seed" and fewest < len(pairs):
        pairs = ()  # a seed that either side ran again is no further pair
    if not pairs:
        sides = (metric.samples(runs, asked) for runs in (match.a, match.b))
        a, b = map(evenly_spaced, sides)
        return Sample(metric=metric, a=a, b=b, paired=False, names=match.names)
    read = [[metric.samples([run], asked) for run in pair] for pair in pairs]
    whole = evenly_spaced([(a[0], b[0]) for a, b in read if a and b])
    a, b = (tuple(pair[side] for pair in whole) for side in (0, 1))
    return Sample(metric=metric, a=a, b=b, paired=True, names=match.names)


def ratio_of_levels(a: Level, b: Level) -> Shift | None:
    """From A to B as a fraction of A, without an interval; ``None`` where one has no estimate."""
    if a.value is None or b.value is None or a.value <= 0:
        return None
    return Shift(b.value / a.value - 1, None, None)
