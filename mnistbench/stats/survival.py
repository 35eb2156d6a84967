"""Time to accuracy where some runs never got there: censored, neither dropped nor counted.

A run has a time, and whether it `reached` its target then; where not, the time is its end.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations, takewhile
from typing import NamedTuple, TypeAlias

from mnistbench.stats.readings import Level, Reading, with_factor
from mnistbench.stats.turnbull import turnbull_median

_RESAMPLES = 9999
_MOST_SPLITS = 20_000
_ROUNDING = 1e-9


_Runs: TypeAlias = tuple[Sequence[float], Sequence[bool]]
"""The times of runs, and which of them were reached."""


class _Arrival(NamedTuple):
    """One run that got there: the curve just after it, and what is believed of the true one.

    The share not there yet is estimated as `survival`, and follows Beta(`alpha`, `beta`).
    """

    time: float
    survival: float
    alpha: float
    beta: float


def at_risk(
    readings: Sequence[Reading], *, among: Sequence[Reading]
) -> tuple[list[float], list[bool]]:
    """Times for survival analysis, and whether they were reached.

    What never gets there stays at risk to the longest time `among` all that are compared, as
    competing risks do (Gooley et al. 1999): to censor it where it broke off would spread its share
    over the runs that went well.
    """
    longest = max((r.value for r in among if math.isfinite(r.value)), default=0.0)
    return [min(r.value, longest) for r in readings], [r.reached for r in readings]


def median_reading(readings: Sequence[Reading]) -> Level:
    """Turnbull's median (1976) of `readings`, with its 95 % interval; of exact ones the ordinary.

    The interval is from the lower bound of the median of all lower ends to the upper bound of that
    of all upper ends, by Kaplan and Meier: it covers wherever between its ends each time was, and
    whatever the factor was that they share.

    Raises:
        ValueError: there are none.
    """
    return with_factor(_median_of(readings), readings)


def _median_of(readings: Sequence[Reading]) -> Level:
    values, reached = at_risk(readings, among=readings)
    if len(values) == 1:  # has no interval that would be worth the import of scipy
        low, high = readings[0][:2] if reached[0] else (None, None)
        middle = None if low is None or high is None else (low + high) / 2
        return Level(middle, None, None, 1, sum(reached), low, high)
    late = kaplan_meier_median(values, reached)
    if all(r.low == r.high or not r.reached for r in readings):
        return late._replace(above=late.value, at_most=late.value)
    lows = [min(r.low, value) for r, value in zip(readings, values, strict=True)]
    early = kaplan_meier_median(lows, reached)
    middle = turnbull_median([Reading(low, r.high) for low, r in zip(lows, readings, strict=True)])
    return _bracketed(early, middle, late)


def kaplan_meier_median(
    times: Sequence[float], reached: Sequence[bool], *, confidence: float = 0.95
) -> Level:
    """Median time until the target, with runs that did not reach it as censored at their time.

    The median is where the product-limit curve (Kaplan and Meier 1958) falls to one half, the
    middle of the step if it rests there: the ordinary median where all runs got there. The
    interval holds the times at which a test does not reject that half are there (Brookmeyer and
    Crowley 1982). The test is the beta product (Fay, Brittain and Proschan 2013), as log-log
    bands claim bounds that three runs cannot give; between two arrivals it is interpolated
    (Hettmansperger and Sheather 1986). Where all runs got there, that is `median_interval`.

    Raises:
        ValueError: no runs, lengths that differ, a time that is not finite, or `confidence`
            outside (0, 1).
    """
    check_times(times, reached, confidence)
    arrivals = _arrivals(times, reached)
    middle = _half_time(arrivals)
    low, high = _median_bounds(arrivals, (1 - confidence) / 2)
    if middle is not None:  # the curve falls in steps, where the bounds go in between
        low = None if low is None else min(low, middle)
        high = None if high is None else max(high, middle)
    return Level(middle, low, high, len(times), len(arrivals))


def log_rank(a: _Runs, b: _Runs) -> float:
    """Two-sided p of the log-rank test that A and B reach the target alike, by permutation.

    The statistic is Mantel's (1966), arrivals of A less those expected, as a sum of scores (Peto
    and Peto 1972); its p is twice the share of all splits of the runs into two such sides that lie
    as far to the same side, so that half of it is a one-sided p even where one side has more runs
    and splits lie askew. Where these are above 20,000, 9,999 are drawn and the one that
    was seen is counted with them (Phipson and Smyth 2010). 1.0 where no run reached the target
    while runs of both sides were under way, which says nothing about either.

    Raises:
        ValueError: no runs, lengths that differ, or a time that is not finite.
    """
    import numpy as np

    scores = np.array(_log_rank_scores(a, b))
    n, n_a = len(scores), len(a[0])
    seen, is_exact = scores[:n_a].sum(), math.comb(n, n_a) <= _MOST_SPLITS
    if is_exact:
        sums = scores[np.array(list(combinations(range(n), n_a)))].sum(axis=1)
    else:
        drawn = np.tile(np.sort(scores), (_RESAMPLES, 1))
        np.random.default_rng(0).permuted(drawn, axis=1, out=drawn)
        sums = drawn[:, :n_a].sum(axis=1)
    beyond = (sums >= seen - _ROUNDING).sum(), (sums <= seen + _ROUNDING).sum()
    extra = 0 if is_exact else 1
    return min(1.0, 2 * float(min(beyond) + extra) / (len(sums) + extra))


def log_rank_excess(a: _Runs, b: _Runs) -> float:
    """Arrivals of A less those expected if B were alike: the direction of `log_rank`.

    Above 0 A gets there sooner, below 0 B; Mantel's statistic (1966), in runs. Where the curves
    cross it may say other than the medians do.

    Raises:
        ValueError: as `log_rank`.
    """
    excess = math.fsum(_log_rank_scores(a, b)[: len(a[0])])
    return excess if abs(excess) > _ROUNDING else 0.0


def _bracketed(early: Level, middle: float | None, late: Level) -> Level:
    """`middle` between the ends of two medians, which are moved where it lies outside of them."""
    if middle is None:
        return Level(None, early.low, None, late.n, late.reached)

    def bound(choose: Callable[[float, float], float], end: float | None) -> float | None:
        return None if end is None else choose(end, middle)

    low, high = bound(min, early.low), bound(max, late.high)
    above, at_most = bound(min, early.value), bound(max, late.value)
    return Level(middle, low, high, late.n, late.reached, above, at_most)


def _log_rank_scores(a: _Runs, b: _Runs) -> list[float]:
    """Of each run its arrival, 1 or 0, less those expected while it was under way (sum 0)."""
    for side in (a, b):
        check_times(*side)
    times, reached = [*a[0], *b[0]], [*a[1], *b[1]]
    expected, hazards = 0.0, dict[float, float]()
    arrivals = Counter(time for time, there in zip(times, reached, strict=True) if there)
    ordered = sorted(times)
    for time in sorted(set(times)):
        expected += arrivals[time] / (len(times) - bisect_left(ordered, time))
        hazards[time] = expected
    return [there - hazards[time] for time, there in zip(times, reached, strict=True)]


def _arrivals(times: Sequence[float], reached: Sequence[bool]) -> list[_Arrival]:
    """The runs that got there, by time; of equal times, those that did not come last.

    Of k runs under way the next to arrive leaves Beta(k, 1) of the share still out. The product
    of these is fitted by a beta of the same mean and variance, exact where none is censored.
    """
    arrivals = []
    survival = mean = square = 1.0
    runs = sorted(zip(times, reached, strict=True), key=lambda run: (run[0], not run[1]))
    for under_way, (time, arrived) in zip(range(len(runs), 0, -1), runs, strict=True):
        if not arrived:
            continue
        survival *= (under_way - 1) / under_way
        mean *= under_way / (under_way + 1)
        square *= under_way / (under_way + 2)
        size = (mean - square) / (square - mean * mean)
        arrivals.append(_Arrival(time, survival, mean * size, (1 - mean) * size))
    return arrivals


def _half_time(arrivals: Sequence[_Arrival]) -> float | None:
    """Where the curve falls to one half."""
    for index, arrival in enumerate(arrivals):
        if arrival.survival > 0.5 + _ROUNDING:
            continue
        if arrival.survival < 0.5 - _ROUNDING or index + 1 == len(arrivals):
            return arrival.time
        return (arrival.time + arrivals[index + 1].time) / 2
    return None


def _median_bounds(arrivals: Sequence[_Arrival], tail: float) -> tuple[float | None, float | None]:
    """The last time surely before the true median, and the first surely after it."""
    from scipy.special import betainc

    rising = [float(betainc(run.alpha, run.beta, 0.5)) for run in arrivals]
    from_start = [
        (run.time, p, (run.alpha - 1) / run.beta) for run, p in zip(arrivals, rising, strict=True)
    ]
    from_end = [
        (run.time, 1 - p, (run.beta - 1) / run.alpha)
        for run, p in zip(arrivals, rising, strict=True)
    ]
    return _bound(from_start, tail), _bound(from_end[::-1], tail)


def _bound(links: Sequence[tuple[float, float, float]], tail: float) -> float | None:
    """The innermost time beyond which the median lies with a probability of at most `tail`.

    Links are (time, that probability, odds that weigh the way to the next), outermost first.
    """
    outside = list(takewhile(lambda link: link[1] <= tail + _ROUNDING, links))
    if not outside:
        return None
    time, p, odds = outside[-1]
    if len(outside) == len(links):
        return time
    next_time, next_p, _ = links[len(outside)]
    part = max(0.0, tail - p) / (next_p - p)
    return time + (next_time - time) * odds * part / (1 + (odds - 1) * part)


def check_times(times: Sequence[float], reached: Sequence[bool], confidence: float = 0.95) -> None:
    """Raise ValueError for what no survival analysis takes, in words for all of them."""
    if not len(times) == len(reached) > 0 or not all(map(math.isfinite, times)):
        raise ValueError("needs as many finite times as outcomes, and at least one run")
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, not {confidence}")
