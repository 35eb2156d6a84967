"""Estimates and intervals against a second implementation; `test_coverage` simulates them."""

import math
from statistics import fmean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mnistbench.stats.intervals import (
    mean_interval,
    median_interval,
    ratio_interval,
    trimmed_mean,
)

NUMBERS = st.integers(-(10**6), 10**6).map(lambda i: i / 1000)
SEVEN = [4.1, 3.9, 5.2, 4.4, 9.7, 4.0, 4.6]
INTERVALS = [mean_interval, median_interval]


@given(
    st.lists(NUMBERS, min_size=2, max_size=30).filter(lambda xs: len(set(xs)) > 1),
    st.sampled_from([0.8, 0.95, 0.99]),
)
def test_the_interval_of_the_mean_is_scipys(values, confidence):
    found = mean_interval(values, confidence=confidence)
    expected = stats.t.interval(
        confidence, len(values) - 1, loc=stats.tmean(values), scale=stats.sem(values)
    )
    assert found == pytest.approx((sum(expected) / 2, *expected), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize(("values", "confidence"), [([], 0.95), ([1.0], 0.0), ([1.0], 1.0)])
def test_nothing_to_estimate_is_an_error(interval, values, confidence):
    with pytest.raises(ValueError, match="at least one value"):
        interval(values, confidence=confidence)


@given(st.integers(2, 14), st.data())
def test_where_order_statistics_have_the_confidence_they_are_the_interval(n, data):
    rank = data.draw(st.integers(1, n // 2))
    confidence = 1 - 2 * stats.binom.cdf(rank - 1, n, 0.5)
    values = data.draw(st.lists(NUMBERS, min_size=n, max_size=n))
    _, low, high = median_interval(values, confidence=confidence - 1e-12)
    assert low == pytest.approx(sorted(values)[rank - 1], abs=1e-3)
    assert high == pytest.approx(sorted(values)[n - rank], abs=1e-3)


@given(st.lists(NUMBERS, min_size=6, max_size=60), st.sampled_from([0.8, 0.95]))
def test_the_interval_of_the_median_lies_just_within_scipys_conservative_one(values, confidence):
    result = median_interval(values, confidence=confidence)
    wide = stats.quantile_test(values, p=0.5).confidence_interval(confidence)
    ordered = sorted(values)
    inner_low = min([x for x in ordered if x > wide.low] + [result.value])
    inner_high = max([x for x in ordered if x < wide.high] + [result.value])
    assert result.value == median(values)
    assert wide.low <= result.low <= inner_low + 1e-9
    assert inner_high - 1e-9 <= result.high <= wide.high


def test_the_median_of_ten_interpolates_as_published():
    # k = 2 covers 97.85 %, k = 3 covers 89.06 %: Hettmansperger and Sheather's formula by hand.
    part = (0.978515625 - 0.95) / (0.978515625 - 0.890625)
    weight = 8 * part / (2 + 6 * part)
    assert median_interval(range(1, 11)) == pytest.approx((5.5, 2 + weight, 9 - weight))


def test_one_value_has_no_interval():
    assert mean_interval([3.0]) == (3.0, None, None)
    assert median_interval([3.0]) == (3.0, None, None)


@pytest.mark.parametrize("n", range(1, 6))
def test_fewer_than_six_values_bound_no_median_at_95_percent(n):
    assert median_interval(SEVEN[:n]) == (median(SEVEN[:n]), None, None)


@given(st.data(), st.integers(0, 5))
def test_the_trimmed_mean_is_scipys(data, drop):
    values = data.draw(st.lists(NUMBERS, min_size=2 * drop + 1, max_size=20))
    theirs = stats.trim_mean(values, (drop + 0.5) / len(values))
    assert trimmed_mean(values, drop_each_side=drop) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize(("n", "drop"), [(0, 0), (2, 1), (5, -1)])
def test_a_trimmed_mean_of_nothing_is_an_error(n, drop):
    with pytest.raises(ValueError, match="cannot drop"):
        trimmed_mean([1.0] * n, drop_each_side=drop)


@given(
    st.lists(st.integers(100, 10_000), min_size=2, max_size=9, unique=True),
    st.lists(st.integers(100, 10_000), min_size=2, max_size=9, unique=True),
)
def test_the_interval_of_a_ratio_is_scipys_of_logarithms(base, values):
    logs = [[math.log(value) for value in side] for side in (values, base)]
    found = ratio_interval(base, values)
    expected = stats.ttest_ind(*logs, equal_var=False).confidence_interval(0.95)
    assert [math.log(found.low), math.log(found.high)] == pytest.approx(expected[:2], abs=1e-6)
    assert math.log(found.value) == pytest.approx(fmean(logs[0]) - fmean(logs[1]), abs=1e-9)


def test_a_ratio_of_single_values_has_no_interval_and_of_equal_ones_no_width():
    assert ratio_interval([2.0], [3.0, 3.0]) == (pytest.approx(1.5), None, None)
    assert ratio_interval([2.0, 2.0], [2.0, 2.0]) == (1, 1, 1)
    with pytest.raises(ValueError, match="at least one"):
        ratio_interval([], [1.0])
