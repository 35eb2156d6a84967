"""Does b lie above a where the two may scatter differently: a studentised permutation test."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_MOST_SPLITS = 20_000
_DRAWS = 9999
_MOST_PERMUTED = 60
"""Values of both sides beyond which Student's t stands for the splits: 0.054 for 0.05 at 40."""
_FEWEST_FOR_T = 15
"""Values of the smaller side below which it does not: of 3 and 100 it would give 0.10 for 0.05."""
_ROUNDING = 1e-9

_Numbers: TypeAlias = NDArray[np.float64]


def brunner_munzel_p(a: _Numbers, b: _Numbers) -> float:
    """Two-sided p that of a value of each side that of `b` is as often the higher as the lower.

    The statistic is Brunner and Munzel's (2000): how often it is the higher, less one half, by a
    standard error that lets each side have a spread of its own. Its p is from all splits of the
    values into two such sides (Neubert and Brunner 2007), from 9,999 drawn ones where they are
    above 20,000, or from Student's t for more than 60 values, 15 or more a side. One that is equal
    counts for neither side, so ties make p larger. Complete separation has the least p there is, 2
    by the number of splits.
    """
    if len(a) == len(b) == 1:
        return 1.0
    differences = np.subtract.outer(b, a)
    higher = _chance(a, b, differences > 0, higher=True)
    lower = _chance(a, b, differences >= 0, higher=False)
    return min(1.0, 2 * min(higher, lower))


def brunner_munzel_interval(a: _Numbers, b: _Numbers, alpha: float) -> tuple[float, float] | None:
    """The shifts of `b` that `brunner_munzel_p` does not reject at `alpha`, or None if it cannot.

    An end is one of the differences b - a, found by halving. Zero is tried first, so that it is
    outside if and only if the test rejects.
    """
    if 2 / math.comb(len(a) + len(b), len(a)) >= alpha:
        return None
    differences = np.subtract.outer(b, a)
    ends = np.unique(differences)

    def keeps(gap: int, *, higher: bool) -> bool:  # a shift between ends gap - 1 and gap
        above = differences >= ends[gap] if gap < len(ends) else np.zeros_like(differences, bool)
        return 2 * _chance(a, b, above, higher=higher) >= alpha

    middle = int(np.searchsorted(ends, np.median(differences)))
    start, beyond = (int(np.searchsorted(ends, 0.0, side=side)) for side in ("left", "right"))
    high = _last(lambda gap: keeps(gap, higher=False), middle, len(ends), first_try=start)
    low = _last(lambda gap: keeps(gap, higher=True), middle + 1, 0, first_try=beyond)
    return float(ends[low - 1]), float(ends[high])


def _last(keeps: Callable[[int], bool], kept: int, lost: int, *, first_try: int) -> int:
    """The number next to a lost one that is kept, between `kept` and `lost`."""
    probe = first_try
    while abs(lost - kept) > 1:
        if min(kept, lost) < probe < max(kept, lost):
            kept, lost = (probe, lost) if keeps(probe) else (kept, probe)
        probe = (kept + lost) // 2
    return kept


def _chance(a: _Numbers, b: _Numbers, above: NDArray[np.bool_], *, higher: bool) -> float:
    """The chance of a `b` as high, or as low, if nothing differs; `above` ``[b, a]``: that b is."""
    from scipy.special import stdtr

    n_a, n_b = len(a), len(b)
    under_b, under_a = above.sum(axis=1), n_b - above.sum(axis=0)
    sums = [x.sum() for x in (under_a, under_a**2, under_b, under_b**2)]
    (seen,), (freedom,) = _studentised(np.array([sums], dtype=float).T, n_a, n_b)
    sign = 1 if higher else -1
    if seen == sign * math.inf:
        return 1 / math.comb(n_a + n_b, n_a)
    if n_a + n_b > _MOST_PERMUTED and min(n_a, n_b) >= _FEWEST_FOR_T:
        return float(stdtr(freedom, -sign * seen)) if math.isfinite(seen) else 1.0
    least, most = np.sort(_below(a) + under_a), np.sort(_below(b) + under_b)
    under = np.sort(np.concatenate([least, most]))
    split = sign * _by_splits(n_a, n_b, tuple(under.tolist()))
    as_far = int((split >= sign * seen - _ROUNDING * max(1.0, abs(seen))).sum())
    exact = math.comb(n_a + n_b, n_a) <= _MOST_SPLITS
    return as_far / split.size if exact else (1 + as_far) / (1 + split.size)


def _below(side: _Numbers) -> NDArray[np.int64]:
    """How many of a side lie below each of it."""
    return np.searchsorted(np.sort(side), side)


def _studentised(sums: _Numbers, n_a: int, n_b: int) -> tuple[_Numbers, _Numbers]:
    """Brunner and Munzel's statistic and its degrees of freedom, infinite for sides apart.

    `sums` ``[4, splits]``: over a, of the number of b that lie below it, and of its square; over b
    the same of a.
    """
    one, one_square, other, other_square = sums
    spread_a = (one_square - one**2 / n_a) / max(n_a - 1, 1) / (n_a * n_b**2)
    spread_b = (other_square - other**2 / n_b) / max(n_b - 1, 1) / (n_b * n_a**2)
    variance, excess = spread_a + spread_b, other / (n_a * n_b) - 0.5
    apart = variance < _ROUNDING**2
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(apart, np.sign(excess) * np.inf, excess / np.sqrt(variance))
        parts = spread_a**2 / max(n_a - 1, 1) + spread_b**2 / max(n_b - 1, 1)
        return np.where(excess == 0, 0.0, found), variance**2 / parts


@lru_cache(maxsize=64)
def _by_splits(n_a: int, n_b: int, under: tuple[int, ...]) -> _Numbers:
    """The statistic of splits of values of which so many, in order, lie `under` each."""
    in_b = _splits(n_a, n_b)
    start = np.array(under)
    end = np.searchsorted(start, start, side="right")
    passed = np.zeros((len(in_b), n_a + n_b + 1))
    np.cumsum(in_b, axis=1, out=passed[:, 1:])
    of_b = (passed[:, start] + passed[:, end]) / 2  # of equal ones half
    of_a = (start + end) / 2 - of_b
    in_a = 1 - in_b
    counted = ((in_a, of_b), (in_b, of_a))
    first, second = (
        (np.einsum("ij,ij->i", who, of), np.einsum("ij,ij,ij->i", who, of, of))
        for who, of in counted
    )
    return _studentised(np.array([*first, *second]), n_a, n_b)[0]


@lru_cache(maxsize=4)
def _splits(n_a: int, n_b: int) -> _Numbers:
    """1 where a value is of b: all splits, or some that are drawn: ``[splits, n_a + n_b]``."""
    n = n_a + n_b
    if math.comb(n, n_b) > _MOST_SPLITS:
        row = np.repeat([0.0, 1.0], [n_a, n_b])
        return np.random.default_rng(0).permuted(np.tile(row, (_DRAWS, 1)), axis=1)
    chosen = np.array(list(combinations(range(n), n_b)))
    found = np.zeros((len(chosen), n))
    np.put_along_axis(found, chosen, 1.0, axis=1)
    return found
