"""Do two sets of runs differ, by how much, and how many runs does it take to see it?

Runs `a` and `b` are numbers on one scale, differences are b - a; give logarithms for ratios.
Paired runs share what makes both slow or fast: a seed, a moment on a drifting machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean, stdev
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    _Numbers: TypeAlias = NDArray[np.float64]


_EXACT_COMPARISONS = 10_000
"""Up to here the paired test counts; beyond, a normal approximation gives 0.0502 for 0.05."""


class Shift(NamedTuple):
    """By how much b lies above a, and the interval of that; None where the runs are too few."""

    estimate: float
    low: float | None
    high: float | None


class RecordTest(NamedTuple):
    """The mean of `n` runs, and the p of seeing it if the true mean were only the target."""

    mean: float
    p_value: float
    n: int


def rank_test(a: Sequence[float], b: Sequence[float], *, paired: bool) -> float:
    """Two-sided p that b does not differ from a; no distribution is assumed.

    Wilcoxon's signed-rank test of the pairs (1945), which counts averages of two differences
    (Tukey 1949); else `brunner_munzel_p`, which lets the two scatter differently: where b does
    three times as much as a and has a third of the runs, the test of Mann and Whitney finds a
    difference in 10 to 13 cases of 100 where there is none, this one in 7 or 8. What is equal
    counts for neither side, so ties make p larger, never too small, and `shift` agrees. Too few
    runs (`smallest_n`) give a p that cannot be small.

    Raises:
        ValueError: no runs, pairs of unequal number, or a number that is not finite.
    """
    first, second = _finite(a, b, paired=paired)
    if not paired:
        from mnistbench.stats.brunner_munzel import brunner_munzel_p

        return brunner_munzel_p(first, second)
    averages, tail = _averages(second - first), _tail(len(a))
    most = max(int((averages > 0).sum()), int((averages < 0).sum()))
    return min(1.0, 2 * float(tail[most]))


def shift(
    a: Sequence[float], b: Sequence[float], *, paired: bool, confidence: float = 0.95
) -> Shift:
    """By how much b lies above a, and all shifts that `rank_test` does not reject.

    The estimate of Hodges and Lehmann (1963) is the median of the differences b - a, or of the
    averages of two of the pairs'; the interval lies between two of them (Hollander and Wolfe
    1999, §3.3 and §4.3). Zero is outside it if and only if the p of `rank_test` is below 1 -
    `confidence`.

    Raises:
        ValueError: as `rank_test`, or `confidence` outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, not {confidence}")
    import numpy as np

    from mnistbench.stats.brunner_munzel import brunner_munzel_interval

    first, second = _finite(a, b, paired=paired)
    alpha = round(1 - confidence, 12)  # 1 - 0.95 is above 0.05
    estimate = shift_estimate(a, b, paired=paired)
    if not paired:
        low, high = brunner_munzel_interval(first, second, alpha) or (None, None)
        return Shift(estimate, low, high)
    averages, rejecting = np.sort(_averages(second - first)), 2 * _tail(len(a)) < alpha
    if not rejecting.any():
        return Shift(estimate, None, None)
    count = int(rejecting.argmax())  # the fewest on one side that reject
    return Shift(estimate, float(averages[-count]), float(averages[count - 1]))


def shift_estimate(a: Sequence[float], b: Sequence[float], *, paired: bool) -> float:
    """The estimate of `shift` alone, which costs a small part of its interval.

    Raises:
        ValueError: as `rank_test`.
    """
    import numpy as np

    first, second = _finite(a, b, paired=paired)
    if first.size == second.size == 1:  # as in thousands of configurations of a seed
        return float(second[0] - first[0])
    if paired:
        return float(np.median(_averages(second - first)))
    return float(np.median(np.subtract.outer(second, first)))


def smallest_n(*, paired: bool, alpha: float) -> int:
    """The fewest runs on each side at which `rank_test` can give p < `alpha` at all.

    Raises:
        ValueError: `alpha` outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"a level lies between 0 and 1, not {alpha}")
    n = 1
    while 2 / (2**n if paired else math.comb(2 * n, n)) >= alpha:
        n += 1
    return n


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p adjusted for all of them being looked at, in the same order (Holm 1979)."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def seeds_needed(  # noqa: PLR0913 - two samples and a test have this many settings
    a: Sequence[float],
    b: Sequence[float],
    *,
    difference: float,
    paired: bool,
    alpha: float = 0.05,
    power: float = 0.9,
) -> int:
    """Runs on each side, in all, with which `rank_test` finds a shift of `difference`.

    From the chance that one comparison has the sign of `difference` (Noether 1987), as the pilot
    runs a and b differ among themselves: their own shift plays no part. Three things are added.
    The count of comparisons varies less the surer that chance is, as a binomial's does. A pilot
    that misses the spread costs more power below it than it gains above: the second-order term
    of that loss, for an estimate that varies half as much again as a normal sample's variance.
    And one run, as the test's levels are discrete. In simulation the power then holds on
    average over pilots of eight and more runs, normal, skewed (alike on both sides) or with the
    tails of Student's t with 3 degrees of freedom.

    Raises:
        ValueError: as `rank_test`, fewer than two runs on a side, `difference` zero or not
            finite, or `alpha` or `power` outside (0, 1).
    """
    if min(len(a), len(b)) < 2 or not 0 < abs(difference) < math.inf:
        raise ValueError("needs two runs on each side and a difference other than zero")
    if not 0 < power < 1:
        raise ValueError(f"a power lies between 0 and 1, not {power}")
    from scipy.special import ndtri

    fewest = smallest_n(paired=paired, alpha=alpha)
    chance, scale = _chance_of_sign(a, b, abs(difference), paired=paired)
    at_level, at_power = float(ndtri(1 - alpha / 2)), float(ndtri(power))
    spread = 2 * math.sqrt(chance * (1 - chance))
    ideal = ((at_level + at_power * spread) / (chance - 0.5)) ** 2 / (3 if paired else 6)
    freedom = len(a) - 1 if paired else len(a) + len(b) - 2
    pilot = 1 + 0.75 * (at_power * (at_level + at_power) + 1) / freedom
    return max(fewest, math.ceil(ideal * scale * pilot) + 1)


def beats_target(values: Sequence[float], target: float) -> RecordTest:
    """One-sided t test that the true mean of `values` is above `target`: evidence if p < 0.01.

    One run shows no spread, so its p is 1. Equal runs would give p = 0, which no few runs can
    show: theirs is the sign test's, 2 to the power of -n, if they lie above the target, else 1.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("a record needs at least one run")
    n, mean = len(values), fmean(values)
    if n == 1:
        return RecordTest(mean, 1.0, 1)
    if min(values) == max(values):
        return RecordTest(mean, 0.5**n if values[0] > target else 1.0, n)
    from scipy.special import stdtr

    t = (mean - target) / (stdev(values) / math.sqrt(n))
    return RecordTest(mean, float(stdtr(n - 1, -t)), n)


def _averages(difference: _Numbers) -> _Numbers:
    """Of every two of the pairs' differences, each with itself too."""
    import numpy as np

    one, other = np.triu_indices(difference.size)
    return np.asarray((difference[one] + difference[other]) / 2)


@lru_cache(maxsize=64)
def _tail(n: int) -> _Numbers:
    """By k: the chance that k or more averages are positive where the pairs do not differ."""
    import numpy as np
    from scipy.special import ndtr

    averages = n * (n + 1) // 2
    if averages <= _EXACT_COMPARISONS:
        ways = _signed_rank_ways(n)
        return np.asarray(ways[::-1].cumsum()[::-1] / ways.sum())
    middle = np.arange(averages + 1) - 0.5 - averages / 2
    return np.asarray(ndtr(-middle / math.sqrt(averages * (2 * n + 1) / 12)))


def _signed_rank_ways(n: int) -> _Numbers:
    """By w: in how many ways signs on the ranks 1 to `n` give positive ones the sum w."""
    import numpy as np

    ways = np.zeros(n * (n + 1) // 2 + 1)
    ways[0] = 1
    for rank in range(1, n + 1):
        ways[rank:] += ways[:-rank].copy()
    return ways


def _chance_of_sign(
    a: Sequence[float], b: Sequence[float], difference: float, *, paired: bool
) -> tuple[float, float]:
    """The chance that a comparison is positive under a shift, and what to multiply n with.

    Noise that is symmetric, or the same on both sides, has equal chances to lift a comparison by
    x and to lower it by x. Pilot runs say little about shifts far below their spread: there the
    chance is that at their median distance, and n grows with the ratio's square (Pitman 1949).
    """
    import numpy as np

    distances = _distances(a, b, paired=paired)
    legible = max(difference, float(np.median(distances)))
    below = float(np.mean(distances < legible) + np.mean(distances <= legible)) / 2
    return (1 + below) / 2, (legible / difference) ** 2


def _distances(a: Sequence[float], b: Sequence[float], *, paired: bool) -> _Numbers:
    """How far comparisons lie from the shift: as far as runs of one side, or pairs, differ."""
    import numpy as np

    first, second = _finite(a, b, paired=paired)
    if paired:
        difference = second - first
        one, other = np.triu_indices(difference.size, 1)
        return np.abs(difference[one] - difference[other]) / 2
    sides = ((side, np.triu_indices(side.size, 1)) for side in (first, second))
    return np.concatenate([np.abs(side[one] - side[other]) for side, (one, other) in sides])


def _finite(a: Sequence[float], b: Sequence[float], *, paired: bool) -> tuple[_Numbers, _Numbers]:
    import numpy as np

    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if not (first.size and second.size and np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("needs at least one run on each side, and finite numbers")
    if paired and first.size != second.size:
        raise ValueError(f"{first.size} runs of a and {second.size} of b make no pairs")
    return first, second
