"""How surely the best is the best: against Student's t, Kaplan and Meier, and the nominal rate."""

import random
from statistics import fmean, stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mnistbench.stats.intervals import mean_interval
from mnistbench.stats.readings import Reading
from mnistbench.stats.resampling import (
    FEWEST_FOR_MEDIANS,
    _medians,
    best_shares,
    change_range,
    drawn_means,
    drawn_medians,
    median_ratio,
)
from mnistbench.stats.survival import kaplan_meier_median

VALUES = [0.981, 0.979, 0.985, 0.980], [0.978, 0.979, 0.983, 0.976]


def test_of_two_paired_groups_the_share_is_students_t():
    a, b = VALUES
    gains = [x - y for x, y in zip(a, b, strict=True)]
    expected = stats.t.cdf(fmean(gains) / (stdev(gains) / 2), df=3)
    drawn = drawn_means(VALUES, paired=True)
    shares = best_shares(drawn, higher_is_better=True)
    assert shares == pytest.approx([expected, 1 - expected], abs=0.02)
    assert best_shares(drawn, higher_is_better=False) == pytest.approx(shares[::-1])
    low, high = change_range(drawn, best=0, other=1, ratio=False)
    interval = mean_interval(gains)
    assert -low == pytest.approx(interval.mean + interval.half_width, rel=0.1)
    assert -high == pytest.approx(interval.mean - interval.half_width, abs=2e-4)


def test_groups_without_shared_seeds_are_drawn_each_by_itself():
    same_noise = [[0.1, 0.2, 0.3], [0.11, 0.21, 0.31]]
    paired, alone = (
        best_shares(drawn_means(same_noise, paired=p), higher_is_better=True) for p in (True, False)
    )
    assert paired == [0.0, 1.0]
    assert 0.5 < alone[1] < 0.65
    uneven = drawn_means([[0.1, 0.2, 0.3], [0.1, 0.2]], paired=False)
    assert uneven.shape == (9999, 2)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_two_equal_groups_are_told_apart_at_the_nominal_rate(n):
    draw, trials = random.Random(n), 400
    wrong = 0
    for trial in range(trials):
        groups = [[draw.gauss(0, 1) for _ in range(n)] for _ in "AB"]
        drawn = drawn_means(groups, paired=True, draws=499, seed=trial)
        wrong += max(best_shares(drawn, higher_is_better=True)) >= 0.95
    assert 0.05 < wrong / trials < 0.15  # 0.1: either may come out on top


def test_equal_medians_are_told_apart_no_more_often():
    draw, trials = random.Random(0), 400
    wrong = 0
    for trial in range(trials):
        groups = [
            [Reading.of(draw.expovariate(1)) for _ in range(FEWEST_FOR_MEDIANS)] for _ in "AB"
        ]
        drawn = drawn_medians(groups, paired=False, draws=499, seed=trial)
        wrong += max(best_shares(drawn, higher_is_better=False)) >= 0.95
    assert wrong / trials < 0.13


RUNS = st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.integers(0, 3)), min_size=1)


@given(RUNS)
def test_a_resampled_median_is_kaplan_and_meiers_of_the_runs_drawn(runs):
    group = [Reading(float(time), float(time) if reached else np.inf) for time, reached, _ in runs]
    counts = [count for _, _, count in runs]
    drawn = [reading for reading, count in zip(group, counts, strict=True) for _ in range(count)]
    (found,) = _medians(group, np.array([counts]))
    expected = None
    if drawn:
        expected = kaplan_meier_median([r.value for r in drawn], [r.reached for r in drawn]).median
    assert found == (np.inf if expected is None else pytest.approx(expected))


def test_intervals_of_a_ratio_of_medians_cover_what_they_say_and_are_no_wider():
    draw, covered, widths = np.random.default_rng(3), 0, []
    for trial in range(300):
        groups = [[Reading.of(float(x)) for x in np.exp(0.3 * draw.normal(size=7))] for _ in "AB"]
        drawn = drawn_medians(groups, paired=False, draws=499, seed=trial)
        low, high = change_range(drawn, best=0, other=1, ratio=True)
        covered += low <= 0 <= high
        widths.append(np.log((1 + high) / (1 + low)))
    assert 0.92 <= covered / 300 < 1
    assert np.median(widths) < 2 * 2 * 1.96 * 0.3 * 1.25 * np.sqrt(2 / 7)  # twice the normal's


def test_a_run_that_never_gets_there_is_at_no_time():
    never = Reading(np.inf, np.inf)
    group = [Reading.of(10.0), Reading.of(12.0), never, never, never]
    drawn = drawn_medians([group, [Reading.of(11.0)] * 5], paired=True)
    shares = best_shares(drawn, higher_is_better=False)
    assert np.isinf(drawn[:, 0]).mean() == pytest.approx(stats.binom.cdf(2, 5, 0.4), abs=0.02)
    assert sum(shares) == pytest.approx(1)
    assert 0 < shares[0] < 0.5
    assert change_range(drawn, best=1, other=0, ratio=True)[1] is None


def test_a_side_that_is_not_reached_opens_its_end_only():
    reached = [1.0, 1.1, 0.9]
    drawn = np.array([[1.0, x] for x in (*reached, np.inf)])
    low, high = change_range(drawn, best=0, other=1, ratio=True)
    assert (low, high) == (pytest.approx(-0.1), None)
    low, high = change_range(drawn[:, ::-1], best=0, other=1, ratio=True)
    assert (low, high) == (None, pytest.approx(1 / 0.9 - 1))


def test_draws_in_which_several_are_the_best_are_shared():
    drawn = np.array([[1.0, 1.0, 2.0], [1.0, 3.0, 1.0], [np.inf] * 3])
    assert best_shares(drawn, higher_is_better=False) == pytest.approx(
        [(1 / 2 + 1 / 2 + 1 / 3) / 3, (1 / 2 + 1 / 3) / 3, (1 / 2 + 1 / 3) / 3]
    )


@pytest.mark.parametrize(("groups", "paired"), [([[1.0]], False), ([[1.0] * 2, [1.0] * 3], True)])
def test_too_few_runs_or_uneven_pairs_are_refused(groups, paired):
    with pytest.raises(ValueError, match="needs two runs or more"):
        drawn_means(groups, paired=paired)
    with pytest.raises(ValueError, match="needs a run or more"):
        drawn_medians([*([Reading.of(x) for x in group] for group in groups), []], paired=paired)


def test_a_ratio_of_medians_has_the_interval_of_its_draws_and_is_none_unreached():
    a, b = ([Reading.of(factor * x) for x in (4.0, 5.0, 6.0, 7.0, 8.0)] for factor in (2, 1))
    assert median_ratio(a, b, paired=True) == pytest.approx((2, 2, 2))
    value, low, high = median_ratio(a, b, paired=False)
    assert (value, low < 2 < high) == (2, True)
    assert median_ratio(a[:4], b, paired=False)[1:] == (None, None)
    lost = [Reading(9.0, np.inf)] * 3
    assert median_ratio(a, lost, paired=False) is median_ratio([], b, paired=False) is None
    _, low, high = median_ratio(a, [*b[:3], *lost[:2]], paired=False)
    assert low is None
    assert high is not None
