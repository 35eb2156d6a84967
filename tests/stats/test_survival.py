"""Censored times against published data, scipy and plain loops; `test_coverage` simulates."""

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mnistbench.stats import survival
from mnistbench.stats.expected_time import expected_running_time
from mnistbench.stats.intervals import median_interval
from mnistbench.stats.readings import Level
from mnistbench.stats.survival import (
    kaplan_meier_median,
    log_rank,
    log_rank_excess,
)

# Weeks of remission in leukaemia, of two times 21 patients; + is censored (Freireich et al. 1963).
SIX_MP = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"

TIMES = st.integers(1, 40).map(float)
RUNS = st.lists(st.tuples(TIMES, st.booleans()), min_size=1, max_size=25)


def parse(text):
    return [float(word.rstrip("+")) for word in text.split()], [
        not word.endswith("+") for word in text.split()
    ]


def columns(runs):
    return [time for time, _ in runs], [reached for _, reached in runs]


def naive_median(times, reached):
    """By the definition, in fractions: falls to one half, or the middle of a rest there."""
    share = Fraction(1)
    arrivals = sorted({t for t, r in zip(times, reached, strict=True) if r})
    for index, arrival in enumerate(arrivals):
        came = sum(r and t == arrival for t, r in zip(times, reached, strict=True))
        share *= 1 - Fraction(came, sum(t >= arrival for t in times))
        if share < Fraction(1, 2) or (share == Fraction(1, 2) and index + 1 == len(arrivals)):
            return arrival
        if share == Fraction(1, 2):
            return (arrival + arrivals[index + 1]) / 2
    return None


def naive_log_rank(times_a, reached_a, times_b, reached_b):
    """Observed less expected arrivals of A, and its square over the hypergeometric variance."""
    runs_a = list(zip(times_a, reached_a, strict=True))
    runs_b = list(zip(times_b, reached_b, strict=True))
    excess, variance = Fraction(0), Fraction(0)
    for arrival in {t for t, r in runs_a + runs_b if r}:
        n_a, n_b = (sum(t >= arrival for t, _ in runs) for runs in (runs_a, runs_b))
        came_a, came_b = (runs.count((arrival, True)) for runs in (runs_a, runs_b))
        n, came = n_a + n_b, came_a + came_b
        excess += came_a - Fraction(came * n_a, n)
        if n > 1:
            variance += Fraction(came * n_a * n_b * (n - came), n * n * (n - 1))
    return excess, float(excess**2 / variance) if variance else 0.0


def test_freireichs_medians_are_the_published_ones():
    six_mp, placebo = (kaplan_meier_median(*parse(text)) for text in (SIX_MP, PLACEBO))
    assert (six_mp.value, six_mp.reached, six_mp.n) == (23, 9, 21)
    assert (placebo.value, placebo.reached, placebo.n) == (8, 21, 21)
    assert 10 <= six_mp.low <= 16  # log-log bands give 13, log bands 16
    assert six_mp.high is None  # as all bands do
    assert placebo[1:3] == pytest.approx((4, 11), abs=0.5)


def test_freireichs_log_rank_is_the_published_one():
    data = (*parse(SIX_MP), *parse(PLACEBO))
    assert naive_log_rank(*data)[1] == pytest.approx(16.79, abs=0.005)
    # the least that 9,999 splits can give; by chi-squared 4e-5
    assert log_rank(data[:2], data[2:]) == 2e-4


@given(RUNS)
def test_the_median_is_that_of_the_definition_and_of_scipys_curve(runs):
    times, reached = columns(runs)
    result = kaplan_meier_median(times, reached)
    assert result.value == naive_median(times, reached)
    assert (result.reached, result.n) == (sum(reached), len(runs))
    if any(reached):
        sample = stats.CensoredData.right_censored(times, [not r for r in reached])
        curve = stats.ecdf(sample).sf
        half = curve.quantiles[curve.probabilities <= 0.5 + 1e-9]
        assert (result.value is None) == (half.size == 0)
        assert result.value is None or result.value >= half[0]


@given(st.lists(TIMES, min_size=1, max_size=40), st.sampled_from([0.5, 0.9, 0.95]))
def test_where_all_got_there_it_is_the_ordinary_median_with_its_interval(times, confidence):
    ordinary = median_interval(times, confidence=confidence)
    censored = kaplan_meier_median(times, [True] * len(times), confidence=confidence)
    assert (censored.value, censored.n) == (ordinary.value, len(times))
    assert (censored.low is None) == (ordinary.low is None)
    if ordinary.low is not None:
        assert censored[1:3] == pytest.approx(ordinary[1:3])


@given(RUNS, st.sampled_from([0.5, 0.9, 0.95]))
def test_the_interval_holds_the_median_and_reached_times_only(runs, confidence):
    times, reached = columns(runs)
    middle, low, high, *_ = kaplan_meier_median(times, reached, confidence=confidence)
    came = [t for t, r in runs if r]
    for bound in (low, high):
        assert bound is None or min(came) - 1e-9 <= bound <= max(came) + 1e-9
    assert low is None or middle is None or low <= middle + 1e-9
    assert high is None or (middle is not None and high >= middle - 1e-9)


def test_the_belief_behind_the_bounds_is_the_beta_product():
    times, reached = parse("2 3 3+ 4 5+ 6 7 7+ 8 9 10 11+ 12 13 14 15+ 16 17 18+ 19")
    _, low, high, *_ = kaplan_meier_median(times, reached)
    draw, share, half_are_there = np.random.default_rng(1), np.ones(200_000), {}
    for under_way, (time, came) in zip(
        range(20, 0, -1), zip(times, reached, strict=True), strict=True
    ):
        if came:
            share *= draw.beta(under_way, 1, share.size)
            half_are_there[time] = (share <= 0.5).mean()
    assert max(t for t, p in half_are_there.items() if p <= 0.025) <= low
    assert low <= min(t for t, p in half_are_there.items() if p > 0.025)
    assert max(t for t, p in half_are_there.items() if p < 0.975) <= high
    assert high <= min(t for t, p in half_are_there.items() if p >= 0.975)


def test_later_censoring_takes_the_upper_bound_first():
    times = [float(t) for t in range(1, 21)]
    ends = (20, 14, 9, 3, 0)
    bounds = [kaplan_meier_median(times, [t <= end for t in times])[:5] for end in ends]
    assert bounds[1] == (10.5, bounds[0][1], None, 20, 14)
    assert bounds[2] == (None, bounds[0][1], None, 20, 9)
    assert bounds[3] == (None, 3, None, 20, 3)
    assert bounds[4] == (None, None, None, 20, 0)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_few_runs_bound_no_median(n):
    times = [4.0, 2.0, 3.0, 5.0, 1.0][:n]
    assert kaplan_meier_median(times, [True] * n)[1:3] == (None, None)
    assert kaplan_meier_median(times, [True] * (n - 1) + [False])[1:3] == (None, None)


FEW_RUNS = st.lists(st.tuples(TIMES, st.booleans()), min_size=1, max_size=4)


@given(FEW_RUNS, FEW_RUNS)
def test_the_log_rank_p_is_that_of_a_plain_loop_over_all_splits(runs_a, runs_b):
    runs = runs_a + runs_b

    def excess(chosen):
        side, rest = [runs[i] for i in chosen], [r for i, r in enumerate(runs) if i not in chosen]
        return naive_log_rank(*columns(side), *columns(rest))[0]

    splits = list(combinations(range(len(runs)), len(runs_a)))
    seen = excess(range(len(runs_a)))
    found = [excess(split) - seen for split in splits]
    tails = sum(x >= 0 for x in found), sum(x <= 0 for x in found)
    expected = min(1.0, 2 * min(tails) / len(splits))
    assert log_rank(columns(runs_a), columns(runs_b)) == pytest.approx(expected)
    assert log_rank(columns(runs_b), columns(runs_a)) == pytest.approx(expected)


@given(RUNS, RUNS)
def test_the_excess_is_that_of_a_plain_loop_and_of_the_other_side_the_opposite(runs_a, runs_b):
    data = columns(runs_a), columns(runs_b)
    excess = log_rank_excess(data[0], data[1])
    assert excess == pytest.approx(float(naive_log_rank(*data[0], *data[1])[0]), abs=1e-9)
    assert log_rank_excess(data[1], data[0]) == pytest.approx(-excess, abs=1e-9)


def test_where_curves_cross_the_excess_is_with_the_side_that_gets_there_more_often():
    a = [2.0] * 5 + [6.0] * 7, [True] * 12
    b = [5.0] * 6 + [8.0] * 6, [True] * 6 + [False] * 6
    assert kaplan_meier_median(*a).value == 6.0
    assert kaplan_meier_median(*b).value == 5.0  # sooner, by its median
    assert log_rank_excess(a, b) > 0
    assert log_rank(a, b) < 0.05


def test_of_many_splits_some_are_drawn_and_that_is_close_to_all_of_them(monkeypatch):
    data = ([3.0, 9, 9, 4, 9, 2, 1, 8], [True, False, False] + [True] * 5, [9.0] * 7, [False] * 7)
    exact = log_rank(data[:2], data[2:])
    monkeypatch.setattr(survival, "_MOST_SPLITS", 10)
    assert log_rank(data[:2], data[2:]) != exact
    assert log_rank(data[:2], data[2:]) == log_rank(data[:2], data[2:])
    assert log_rank(data[:2], data[2:]) == pytest.approx(exact, abs=3 * math.sqrt(exact / 9999))


def test_few_arrivals_are_judged_as_by_fishers_exact_test():
    ends = [30.0] * 10
    p_value = log_rank((ends, [True] * 5 + [False] * 5), (ends, [False] * 10))
    assert p_value == pytest.approx(stats.fisher_exact([[5, 5], [0, 10]]).pvalue, abs=0.006)


@pytest.mark.slow
@pytest.mark.parametrize("n", [6, 10])
def test_the_log_rank_rarely_tells_a_thing_with_few_arrivals_from_itself(n):
    draw, false = np.random.default_rng(n), 0
    for _ in range(400):
        times = draw.exponential(100.0, 2 * n)
        reached, times = times < 40.0, np.minimum(times, 40.0)  # a third gets there
        false += log_rank((times[:n], reached[:n]), (times[n:], reached[n:])) < 0.05
    assert false <= 20 + 2 * math.sqrt(19)  # 5 %, and the chance of 400 trials


def test_half_the_log_rank_p_is_one_sided_where_one_side_has_more_runs():
    ends = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 2.0, 2.0, 2.0]
    runs = [(end, end < 2) for end in ends]
    wrong = {True: 0, False: 0}
    for chosen in combinations(range(12), 3):
        few = [runs[i] for i in chosen]
        data = (*columns(few), *columns([r for i, r in enumerate(runs) if i not in chosen]))
        wrong[log_rank_excess(data[:2], data[2:]) > 0] += log_rank(data[:2], data[2:]) / 2 < 0.05
    assert max(wrong.values()) <= 0.05 * math.comb(12, 3)


def test_the_log_rank_says_nothing_where_nothing_was_seen():
    assert log_rank(([1.0, 2.0], [False, False]), ([3.0], [False])) == 1.0
    assert log_rank(([1.0], [False]), ([5.0] * 49, [True] * 49)) == 1.0
    assert log_rank(([5.0, 5.0], [True, True]), ([5.0], [True])) == 1.0


def test_expected_running_time_is_all_time_per_success():
    result = expected_running_time([10.0, 20.0, 90.0, 30.0, 90.0], [True, True, False, True, False])
    assert (result.value, result.reached, result.n) == (80.0, 3, 5)
    assert 10 <= result.low <= 20
    assert result.high is None  # five runs do not exclude that hardly any gets there
    assert expected_running_time([9.0, 9.0], [False, False])[:5] == (None, None, None, 2, 0)
    assert expected_running_time([1.0, 2.0, 9.0], [True, True, False])[:5] == (6, None, None, 3, 2)


def test_expected_running_time_without_failures_is_the_mean_and_says_no_interval():
    times = [3.0, 4.0, 6.0, 5.0, 4.5]
    assert expected_running_time(times, [True] * 5) == Level(4.5, None, None, 5, 5)
    assert expected_running_time(4 * times, [True] * 20)[:3] == (4.5, None, None)


def test_the_bounds_of_expected_running_time_are_those_of_a_plain_loop():
    times, reached = parse("8 9 10 10 11 12 13 30+ 30+ 14 9 10 30+ 12 11 13 8 30+ 12 10")
    tail = stats.norm.cdf(-math.sqrt(20 / 19) * stats.t.ppf(0.975, 19))
    draw, ratios = np.random.default_rng(9), []
    for _ in range(20_000):
        chosen = draw.integers(20, size=20)
        ratios.append(sum(times[i] for i in chosen) / sum(reached[i] for i in chosen))
    expected = np.quantile(ratios, [tail, 1 - tail])
    assert expected_running_time(times, reached)[1:3] == pytest.approx(tuple(expected), rel=0.03)


@pytest.mark.parametrize("times", [[], [1.0], [1.0, math.nan], [1.0, math.inf]])
@pytest.mark.parametrize("estimate", [kaplan_meier_median, expected_running_time])
def test_times_that_are_none_are_an_error(estimate, times):
    with pytest.raises(ValueError, match="finite times"):
        estimate(times, [True, False][: 2 * len(times)])
    with pytest.raises(ValueError, match="finite times"):
        log_rank(([1.0], [True]), (times, [True, False]))


@pytest.mark.parametrize("estimate", [kaplan_meier_median, expected_running_time])
def test_a_confidence_lies_between_0_and_1(estimate):
    with pytest.raises(ValueError, match="confidence"):
        estimate([1.0], [True], confidence=1.0)
