"""Intervals against a second implementation and by simulation."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mnistbench.analysis.statistics import mean_interval


@given(
    st.lists(st.integers(-(10**6), 10**6).map(lambda i: i / 1000), min_size=2, max_size=30).filter(
        lambda xs: len(set(xs)) > 1
    ),
    st.sampled_from([0.8, 0.95, 0.99]),
)
def test_the_interval_is_scipys(values, confidence):
    estimate = mean_interval(values, confidence=confidence)
    low, high = stats.t.interval(
        confidence, len(values) - 1, loc=stats.tmean(values), scale=stats.sem(values)
    )
    assert estimate.n == len(values)
    assert estimate.mean == pytest.approx((low + high) / 2, rel=1e-6, abs=1e-6)
    assert estimate.half_width == pytest.approx((high - low) / 2, rel=1e-6, abs=1e-6)


def test_one_value_has_no_interval():
    assert mean_interval([3.0]) == (3.0, None, 1)


@pytest.mark.parametrize(("values", "confidence"), [([], 0.95), ([1.0], 0.0), ([1.0], 1.0)])
def test_nothing_to_estimate_is_an_error(values, confidence):
    with pytest.raises(ValueError, match="at least one value"):
        mean_interval(values, confidence=confidence)


def test_nominal_95_percent_intervals_cover_95_percent():
    draw = random.Random(0)
    trials, covered = 4000, 0
    for _ in range(trials):
        mean, half_width, _ = mean_interval([draw.gauss(0, 1) for _ in range(5)])
        covered += abs(mean) <= half_width
    assert 0.94 <= covered / trials <= 0.96
