"""Two sides of one metric: what the spacing of evaluations lets be said of times to a target."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.analysis.metrics import METRICS
from mnistbench.analysis.pairing import as_one
from mnistbench.analysis.samples import Sample, sample_of
from mnistbench.stats.readings import Reading

TIME = METRICS["time_to_accuracy_s"]


def sample(a, b):
    return Sample(metric=TIME, a=tuple(a), b=tuple(b), paired=False)


def wider(readings, spacing):
    """The same, read first at evaluations that are so much further from the last miss."""
    return [Reading(max(0.0, r.low - spacing), r.high) if r.reached else r for r in readings]


TIMES = st.lists(st.tuples(st.floats(1, 20), st.booleans()), min_size=1, max_size=9).map(
    lambda drawn: [Reading(time, time if there else math.inf) for time, there in drawn]
)


@given(TIMES, TIMES, st.floats(0, 30))
def test_a_wider_spacing_never_makes_a_difference_surer(a, b, spacing):
    exact, coarse = sample(a, b), sample(wider(a, spacing), wider(b, spacing))
    assert exact.p_value() == exact.p_of_first() == coarse.p_of_first()
    assert coarse.p_value() >= exact.p_value()


@given(TIMES, TIMES)
def test_a_and_b_say_the_opposite_of_b_and_a(a, b):
    one, other = sample(a, b), sample(b, a)
    assert one.direction() * other.direction() <= 0
    assert (one.contradiction() is None) == (other.contradiction() is None)


def test_where_the_evaluations_alone_can_turn_it_round_nothing_is_known():
    a = [Reading(1.0, 3.0 + k / 10) for k in range(8)]
    b = [Reading(2.0, 4.0 + k / 10) for k in range(8)]
    assert sample(a, b).p_of_first() < 0.001
    assert sample(a, b).p_value() == 1.0
    apart = [Reading(4.0 + k / 10, 6.0 + k / 10) for k in range(8)]
    assert sample(a, apart).p_value() < 0.001


def test_the_change_leaves_open_all_that_the_evaluations_do():
    exact = [Reading.of(4.0 + k / 10) for k in range(8)]
    change = sample(exact, [Reading(2.0 * r.value - 1, 2.0 * r.value) for r in exact]).change()
    known = sample(exact, [Reading.of(2.0 * r.value) for r in exact]).change()
    assert known.estimate == pytest.approx(1.0)
    assert change.low < known.low
    assert change.high >= known.high - 1e-9
    assert change.low <= change.estimate <= change.high


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("at_first", [1, 4, 8])
def test_a_time_that_may_be_nothing_bounds_no_change(paired, at_first):
    a = [Reading(0.0 if k < at_first else 3.9, 4.0 + k / 10) for k in range(8)]
    b = [Reading.of(9.0 + k / 10) for k in range(8)]
    change = replace(sample(a, b), paired=paired).change()
    assert change.high is None or change.high < 2  # never what merely stands for no time
    assert change.high is None or at_first < 8
    back = replace(sample(b, a), paired=paired).change()
    assert -1 <= back.low < back.high < 0


def test_no_number_of_runs_finds_what_is_inside_the_spacing():
    exact = [Reading.of(4.0 + k / 10) for k in range(8)]
    assert sample(exact, exact).runs_needed(0.05) > 0
    coarse = [Reading(0.9 * r.high, r.high) for r in exact]
    assert sample(exact, coarse).runs_needed(0.05) is None
    assert sample(exact, coarse).runs_needed(0.05, change=0.2) > 0


@pytest.mark.parametrize("n", [6, 12])  # all splits, and some that are drawn
def test_the_order_of_readings_changes_no_p(n):
    a = [Reading.of(1.0 + (7 * k % 12) / 5) for k in range(n)]
    b = [
        Reading(2.0 + (5 * k % 12) / 5, math.inf if k % 3 == 0 else 2.0 + (5 * k % 12) / 5)
        for k in range(n)
    ]
    assert sample(a, b).p_value() == sample(sorted(a), sorted(b)).p_value()
    assert sample(a, b).change() == sample(sorted(a), sorted(b)).change()


@pytest.mark.parametrize("repeating", ["A", "B"])
def test_a_seed_that_one_side_ran_again_makes_no_further_pairs(make_record, repeating):
    minutes = ((0, 3, 4, 7), (1, 2, 5, 6))  # AB, BA, AB, BA
    a, b = (
        [
            make_record(0 if side == repeating else seed, created_at=f"2026-01-01T00:0{minute}:00")
            for seed, minute in enumerate(began)
        ]
        for side, began in zip("AB", minutes, strict=True)
    )
    match = as_one(a, b)
    assert match.order == "in turn"
    speed, accuracy = (
        sample_of(match, METRICS[name], None) for name in ("samples_per_s", "test_accuracy")
    )
    assert (speed.paired, len(speed.a), len(speed.b)) == (True, 4, 4)
    assert (accuracy.paired, accuracy.n) == (False, 1)
