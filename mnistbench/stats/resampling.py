"""Which of several groups is the best, and how surely: the ranking drawn again with its noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mnistbench.stats.readings import Reading, shared_windows

DRAWS = 9999
_MOST_DRAWN = 10_000_000
FEWEST_FOR_MEDIANS = 5
"""Runs below which resampled medians are surer than they may be: of three, in 23 cases of 100."""

_NONE = 0.2
"""The prior probability that groups do not differ at all."""
_ROUNDING = 1e-9

_Numbers: TypeAlias = NDArray[np.float64]


def drawn_means(
    groups: Sequence[Sequence[float]],
    *,
    paired: bool,
    of_medians: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> _Numbers:
    """True means of `groups` as they may well be: ``[draws, groups]``.

    Draws from a hierarchical normal model (Gelman et al. 2013, §5.4): the noise of all groups is
    alike, and true means scatter around one of their own, by a spread in units of the noise that is
    0 with a probability of one fifth and else half-Cauchy. So they are shrunk towards each other
    where the data show no more than noise: to be the largest of twelve equal ones is no merit. In
    simulation, where a group is called the best with x % it is in x % of the cases, to within 5.

    Args:
        groups: two runs or more each; if `paired`, run i of each group shares what made it lucky.
        paired: leave out of the noise what run i of all groups shares.
        of_medians: centre on them, which vary more than means do, by pi / 2.
        draws: how many.
        seed: of the draws.

    Raises:
        ValueError: a group of fewer than two runs, or pairs of unequal number.
    """
    if min(map(len, groups)) < 2 or (paired and len(set(map(len, groups))) > 1):
        raise ValueError("needs two runs or more in each group, and as many in each for pairs")
    random, k = np.random.default_rng(seed), len(groups)
    square, freedom = _noise(groups, paired=paired and k > 1)
    centre = np.array([(np.median if of_medians else np.mean)(group) for group in groups])
    error = np.array([(np.pi / 2 if of_medians else 1.0) / len(group) for group in groups])
    total, spread, log_weight = _spreads(centre, error, square, freedom)
    weight = np.exp(log_weight - log_weight.max())
    chosen = random.choice(len(weight), size=draws, p=weight / weight.sum())
    noise = np.sqrt(total[chosen] / random.chisquare(freedom + k - 1, size=draws))
    inverse = 1 / (spread[chosen, None] ** 2 + error)
    precision = inverse.sum(axis=1)
    around = (centre * inverse).sum(axis=1) / precision
    around += noise / np.sqrt(precision) * random.standard_normal(draws)
    kept = spread[chosen, None] ** 2 * inverse  # how little a mean is shrunk
    drawn = around[:, None] + kept * (centre - around[:, None])
    drawn += noise[:, None] * np.sqrt(kept * error) * random.standard_normal((draws, k))
    return np.asarray(drawn)


def num_draws(num_groups: int) -> int:
    """`DRAWS`, or as many draws of so many groups as take 80 MB: of 10,000 groups a thousand."""
    return min(DRAWS, _MOST_DRAWN // max(num_groups, 1))


def drawn_times(
    groups: Sequence[Sequence[Reading]], *, paired: bool, draws: int = DRAWS, seed: int = 0
) -> _Numbers:
    """Median times of `groups` as they may well be: ``[draws, groups]``, or infinity.

    By `drawn_means` of the logarithms of times, halfway between the ends of each, moved to anywhere
    between these: by as much for all runs of a group, which were evaluated alike. Where a run was
    not reached, `drawn_medians`, whose shares of draws say more than is so: 50 % of what is the
    best in 39 cases of 100, 69 % in 60, 93 % in 90.

    Args and errors as there.
    """
    if not all(reading.reached and reading.high > 0 for group in groups for reading in group):
        drawn = drawn_medians(groups, paired=paired, draws=draws, seed=seed)
        return _between_ends(drawn, groups, seed)
    logs = [[math.log((r.low + r.high) / 2) for r in group] for group in groups]
    found = drawn_means(logs, paired=paired, of_medians=True, draws=draws, seed=seed)
    return _between_ends(np.exp(found), groups, seed)


def drawn_medians(
    groups: Sequence[Sequence[Reading]], *, paired: bool, draws: int = DRAWS, seed: int = 0
) -> _Numbers:
    """Kaplan and Meier's medians (1958) of resampled `groups`: ``[draws, groups]``, or infinity.

    Each time is taken halfway between its ends. The runs of a group are drawn with replacement
    (Efron 1981 for censored data); have `FEWEST_FOR_MEDIANS` of them. Percentiles of such draws
    are too narrow by the degrees of freedom and by Student's t: draws are moved away from the
    group's own median for that, as ratios (Hesterberg 2015).

    Args:
        groups: as there, readings of times that may be censored.
        paired: draw the same runs of all groups.
        draws: how many.
        seed: of the draws.

    Raises:
        ValueError: an empty group, or pairs of unequal number.
    """
    if min(map(len, groups)) < 1 or (paired and len(set(map(len, groups))) > 1):
        raise ValueError("needs a run or more in each group, and as many in each for pairs")
    drawn = np.empty((draws, len(groups)))
    for column, group in enumerate(groups):
        random = np.random.default_rng(seed if paired else [seed, column])
        n = len(group)
        counts = random.multinomial(n, [1 / n] * n, size=draws)
        drawn[:, column] = _widened(_medians(group, counts), group)
    return drawn


def best_shares(drawn: _Numbers, *, higher_is_better: bool) -> list[float]:
    """The share of draws in which each group is the best; several that are share it equally.

    What Hall and Miller (2009) call the authority of an empirical ranking.

    Args:
        drawn: ``[draws, groups]`` of `drawn_means` or `drawn_medians`; infinity was not reached.
        higher_is_better: else lower.
    """
    best = (drawn.max if higher_is_better else drawn.min)(axis=1, keepdims=True)
    near = np.isclose(drawn, best, rtol=_ROUNDING, atol=0.0)
    return [float(x) for x in (near / near.sum(axis=1, keepdims=True)).mean(axis=0)]


def change_range(
    drawn: _Numbers, *, best: int, other: int, ratio: bool, confidence: float = 0.95
) -> tuple[float | None, float | None]:
    """The interval of the change from group `best` to `other`, by percentiles of `drawn`.

    A fraction of the former if `ratio`, else the difference. ``None`` where, in a draw that counts
    for that end, one of them did not reach what is timed.
    """
    a, b = drawn[:, best], drawn[:, other]
    neither = np.isinf(a) & np.isinf(b)  # it may be any change
    with np.errstate(invalid="ignore", divide="ignore"):
        change = np.where(np.isinf(a), -np.inf, b / a - 1 if ratio else b - a)
    tail = (1 - confidence) / 2
    ends = [
        float(np.quantile(np.where(neither, open_end, change), share, method="inverted_cdf"))
        for open_end, share in ((-np.inf, tail), (np.inf, 1 - tail))
    ]
    low, high = (end if np.isfinite(end) else None for end in ends)
    return low, high


def _between_ends(drawn: _Numbers, groups: Sequence[Sequence[Reading]], seed: int) -> _Numbers:
    """`drawn` middles of times, each group's moved alike to anywhere between its readings' ends.

    And by a factor, as far as the median of its windows may be off; of rounds in turn all alike.
    """
    for column, windows in enumerate(map(shared_windows, groups)):
        if n := len(windows):
            random = np.random.default_rng([seed, 2, n])
            logs = np.log(windows)
            off = random.standard_normal((len(drawn), n)) @ (logs - logs.mean())
            off /= np.sqrt(2 / np.pi * n * random.chisquare(n - 1, len(drawn)))
            drawn[:, column] *= np.exp(off)
    random = np.random.default_rng([seed, 1, len(groups)])
    ends = [[(r.low, r.high) for r in group if r.reached] or [(1.0, 1.0)] for group in groups]
    low, high = (np.array([sum(e[i] for e in group) for group in ends]) for i in (0, 1))
    part = (high - low) / np.maximum(high + low, 1e-300)
    return np.asarray(drawn * (1 + part * random.uniform(-1, 1, drawn.shape)))


def _noise(groups: Sequence[Sequence[float]], *, paired: bool) -> tuple[float, int]:
    """The sum of squares of the runs around their groups, and pairs, and its degrees of freedom."""
    if not paired:
        return sum(len(g) * float(np.var(g)) for g in groups), sum(len(g) - 1 for g in groups)
    table = np.array(groups)
    means = table.mean(axis=1, keepdims=True) + table.mean(axis=0) - table.mean()
    return float(((table - means) ** 2).sum()), (table.shape[0] - 1) * (table.shape[1] - 1)


def _spreads(
    centre: _Numbers, error: _Numbers, square: float, freedom: int
) -> tuple[_Numbers, _Numbers, _Numbers]:
    """Spreads of true means that may be, in units of the noise, with what the data say of each.

    For each the sum of squares of noise that it leaves, itself, and the logarithm of its posterior
    weight; the noise and what the means scatter around are integrated out.
    """
    some = np.geomspace(0.02, 20_000, 70)
    half_cauchy = some / (1 + some**2)  # on a logarithmic grid
    prior = np.array([_NONE, *((1 - _NONE) * half_cauchy / half_cauchy.sum())])
    spread = np.array([0.0, *some])
    variance = spread[:, None] ** 2 + error
    precision = (1 / variance).sum(axis=1)
    around = (centre / variance).sum(axis=1, keepdims=True) / precision[:, None]
    total = square + ((centre - around) ** 2 / variance).sum(axis=1)
    log_weight = np.log(prior) - (np.log(variance).sum(axis=1) + np.log(precision)) / 2
    return (
        total,
        spread,
        log_weight - (freedom + len(centre) - 1) / 2 * np.log(np.maximum(total, 1e-300)),
    )


def _medians(group: Sequence[Reading], counts: NDArray[np.int64]) -> _Numbers:
    """The median of `group` for each row of `counts` ``[draws, n]``, how often each run counts."""
    middles = [(r.low + r.high) / 2 if r.reached else r.low for r in group]
    order = sorted(range(len(group)), key=lambda i: (middles[i], not group[i].reached))
    times = np.array([middles[i] for i in order])
    counts = counts[:, order]
    arrived = counts * np.array([group[i].reached for i in order])
    under_way = counts[:, ::-1].cumsum(axis=1)[:, ::-1]
    survival = np.cumprod(1 - arrived / np.maximum(under_way, 1), axis=1)
    first = _first_time(times, (survival <= 0.5 + _ROUNDING) & (arrived > 0))
    second = _first_time(times, (survival < 0.5 - _ROUNDING) & (arrived > 0))
    return np.where(np.isinf(second), first, (first + second) / 2)


def _widened(medians: _Numbers, group: Sequence[Reading]) -> _Numbers:
    """`medians` farther from that of `group`, where it has one that is not zero."""
    from scipy.special import ndtri, stdtrit

    n = len(group)
    (centre,) = _medians(group, np.ones((1, n), dtype=np.int64))
    if n < 2 or not 0 < centre < np.inf:
        return medians
    power = np.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.975) / ndtri(0.975)
    wider: _Numbers = centre * (medians / centre) ** power
    return wider


def _first_time(times: _Numbers, there: NDArray[np.bool_]) -> _Numbers:
    """In each row the first of `times` that is `there`, or infinity."""
    return np.where(there.any(axis=1), times[there.argmax(axis=1)], np.inf)
