"""Axes over any values: round numbers within the range, at least two of them."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mnistbench.output.charts.picture import axis_over

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
COUNTS = st.integers(2, 10)


@given(
    st.lists(NUMBERS | st.floats(90, 100), max_size=6),
    st.sampled_from(["linear", "log", "error"]),
    COUNTS,
    st.booleans(),
)
@example([0.999, 1.001], "linear", 4, True)
@example([98.31, 98.87], "error", 4, False)
@example([0.0117, 0.0123], "log", 4, False)
@example([1e100, 1e-300], "log", 7, False)
@example([-1.7e308, 1.7e308], "linear", 7, False)
def test_every_axis_has_two_numbers_in_its_range(values, scale, at_most, whole):
    axis = axis_over("a", values, scale=scale, at_most=at_most, whole=whole)
    ticks = [tick for tick, _ in axis.ticks]
    assert 2 <= len(ticks) <= max(9, at_most)
    assert ticks == sorted(set(ticks))
    assert axis.low <= ticks[0] < ticks[-1] <= axis.high
    places = [axis.place(tick) for tick in ticks]
    assert 0 <= places[0] < places[-1] <= 1
    for value in values:
        place = axis.place(value)
        assert math.isnan(place) or -1e-6 <= place <= 1 + 1e-6
    assert axis.scale != "error" or axis.low >= 0  # no accuracy is below 0 %


@pytest.mark.parametrize(
    ("values", "scale", "told"),
    [
        ([0, 10], "linear", ["0", "2", "4", "6", "8", "10"]),
        ([0.2, 2.9], "linear", ["1", "2", "3"]),
        ([0.0, 1.0], "linear", ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        ([0, 12345], "linear", ["0", "2,000", "4,000", "6,000", "8,000", "10,000", "12,000"]),
        ([0.03, 4], "log", ["0.05", "0.1", "0.2", "0.5", "1", "2", "5"]),
        ([1e-3, 1e3], "log", ["0.001", "0.01", "0.1", "1", "10", "100", "1,000"]),
        ([10, 99.6], "error", ["0", "50", "80", "90", "95", "98", "99", "99.5"]),
        ([96.2, 96.6], "error", ["96.2", "96.3", "96.4", "96.5", "96.6"]),
        ([100, 100], "error", ["99.998", "99.999", "100"]),
    ],
)
def test_numbers_are_round(values, scale, told):
    axis = axis_over("a", values, scale=scale, at_most=7, whole=True)
    assert [text for _, text in axis.ticks] == told
