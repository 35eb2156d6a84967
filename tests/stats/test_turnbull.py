"""The median between two ends, against a plain loop, Kaplan and Meier, and the truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.stats.readings import Reading
from mnistbench.stats.survival import kaplan_meier_median, median_reading
from mnistbench.stats.turnbull import _innermost, _share_passed, turnbull_median

ENDS = st.integers(0, 12).map(float)
BETWEEN = st.tuples(ENDS, st.integers(1, 6)).map(lambda x: Reading(x[0], x[0] + x[1]))
EXACT = ENDS.map(Reading.of)
OPEN = ENDS.map(lambda x: Reading(x, math.inf))
ANY = st.lists(st.one_of(BETWEEN, EXACT, OPEN), min_size=1, max_size=9)
TINY = 1e-6


def naive_curve(readings):
    """Spans (left, right, share): the likeliest, by plain loops over a matrix of 0 and 1."""
    # a time just above x is x + TINY; an exact one begins just before itself
    spans = [(r.low - TINY if r.low == r.high else r.low + TINY, r.high) for r in readings]
    lefts, rights = sorted({s for s, _ in spans}), sorted({e for _, e in spans})
    inner = [
        (left, right)
        for left in lefts
        for right in rights
        if left < right and not any(left < x < right for x in (*lefts, *rights))
    ]
    holds = [[s <= left and right <= e for left, right in inner] for s, e in spans]
    share = [1 / len(inner)] * len(inner)
    for _ in range(2000):
        gained = [0.0] * len(inner)
        for row in holds:
            mass = sum(p for p, there in zip(share, row, strict=True) if there)
            for j, there in enumerate(row):
                gained[j] += share[j] / mass / len(spans) if there else 0.0
        if max(abs(x - y) for x, y in zip(gained, share, strict=True)) < 1e-9:
            break
        share = gained
    return [(round(left, 3), right, p) for (left, right), p in zip(inner, share, strict=True)]


@given(ANY)
def test_the_curve_is_that_of_a_plain_loop(readings):
    found = _innermost(readings)
    expected = naive_curve(readings)
    assert list(zip(found.left, found.right, strict=True)) == [x[:2] for x in expected]
    passed = np.cumsum([p for _, _, p in expected])
    assert _share_passed(found) == pytest.approx(passed.tolist(), abs=0.02)


@given(ANY)
def test_no_curve_is_likelier(readings):
    found = _innermost(readings)
    below = np.array([0.0, *_share_passed(found)])
    share, mass = np.diff(below), below[found.last] - below[found.first]
    rises = [
        np.mean([(a <= j < b) / m for a, b, m in zip(found.first, found.last, mass, strict=True)])
        for j in range(len(share))
    ]
    assert share.sum() == pytest.approx(1)
    assert max(rises) < 1.002  # moving any mass there gains next to nothing


@given(st.lists(st.one_of(EXACT, OPEN), min_size=1, max_size=12))
def test_of_exact_and_open_readings_it_is_kaplan_and_meiers(readings):
    times, reached = [r.value for r in readings], [r.reached for r in readings]
    expected = kaplan_meier_median(times, reached)
    middle = turnbull_median(readings)
    assert middle == (None if expected.value is None else pytest.approx(expected.value))
    assert median_reading(readings)[:5] == expected[:5]


NEVER = st.just(Reading(math.inf, math.inf))


@given(st.lists(st.one_of(BETWEEN, EXACT, OPEN, NEVER), min_size=1, max_size=12))
def test_interval_and_bracket_hold_the_median(readings):
    middle, low, high, n, reached, above, at_most = median_reading(readings)
    assert (reached, n) == (sum(r.reached for r in readings), len(readings))
    for bottom, top in ((low, high), (above, at_most)):
        assert bottom is None or middle is None or bottom <= middle
        assert top is None or (middle is not None and middle <= top)


@given(st.lists(BETWEEN, min_size=1, max_size=12), st.integers(1, 5))
def test_the_median_moves_with_the_clock_and_knows_no_order(readings, factor):
    middle = median_reading(readings).value
    scaled = [Reading(factor * r.low, factor * r.high) for r in reversed(readings)]
    assert median_reading(scaled).value == pytest.approx(factor * middle, rel=1e-6, abs=1e-9)


def test_one_evaluation_bounds_one_run():
    assert median_reading([Reading(2.0, 3.0)]) == (2.5, None, None, 1, 1, 2.0, 3.0)
    assert median_reading([Reading(4.0, math.inf)]) == (None, None, None, 1, 0, None, None)
    first = [Reading(0.0, 391.0)] * 6
    assert median_reading(first) == (195.5, 0.0, 391.0, 6, 6, 0.0, 391.0)


def test_a_run_that_ended_inside_anothers_interval_moves_it_up():
    # 1 got there after 4 and by 6, 1 had not by 5: both together say after 5 and by 6
    assert turnbull_median([Reading(4.0, 6.0), Reading(5.0, math.inf)]) == 5.5


@pytest.mark.parametrize("spacing", [0.02, 0.3])
def test_the_median_is_the_true_one_however_coarse_the_evaluations(spacing):
    draw = np.random.default_rng(5)
    times = np.exp(0.3 * draw.normal(size=2000))
    every = spacing * draw.uniform(0.9, 1.1, size=2000)  # no two runs are evaluated alike
    lows = every * np.floor(times / every)
    readings = [Reading(a, a + s) for a, s in zip(lows.tolist(), every.tolist(), strict=True)]
    found = median_reading(readings)
    assert found.value == pytest.approx(1.0, abs=0.03)
    assert found.low < 1 < found.high
    assert found.at_most - found.above == pytest.approx(spacing, rel=0.35)
