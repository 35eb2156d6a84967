"""How surely the best is the best: against Student's t, Kaplan and Meier, and the nominal rate."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mnistbench.stats.readings import Reading
from mnistbench.stats.resampling import (
    FEWEST_FOR_MEDIANS,
    _medians,
    best_shares,
    change_range,
    drawn_means,
    drawn_medians,
    drawn_times,
)
from mnistbench.stats.survival import kaplan_meier_median


def share_of_first(groups, **settings):
    return best_shares(drawn_means(groups, **settings), higher_is_better=True)[0]


def test_the_draws_are_those_of_the_model_by_plain_sampling():
    # the model run forwards: keep what looks like the two means and the noise that were seen
    draw, kept = np.random.default_rng(1), []
    groups = [[0.0, 1.0, 2.0], [0.7, 1.7, 2.7]]
    while len(kept) < 1500:
        size = 200_000
        noise = np.exp(draw.uniform(-2, 2, size))  # known only by its degrees of freedom
        spread = np.where(draw.random(size) < 0.2, 0.0, np.abs(draw.standard_cauchy(size))) * noise
        apart = spread * math.sqrt(2) * draw.normal(size=size)
        seen = apart + noise * math.sqrt(2 / 3) * draw.normal(size=size)
        square = noise**2 * draw.chisquare(4, size=size)
        near = (np.abs(seen - 0.7) < 0.05) & (np.abs(square - 4) < 0.4)
        kept += apart[near].tolist()
    gaps = np.array(kept)
    expected = np.mean((gaps > 0) + (gaps == 0) / 2)
    assert share_of_first(groups[::-1], paired=False) == pytest.approx(expected, abs=0.04)
    drawn = drawn_means(groups, paired=False)
    assert np.mean(drawn[:, 1] - drawn[:, 0]) == pytest.approx(gaps.mean(), abs=0.04)


def test_what_seeds_share_is_no_noise_where_they_are_paired():
    a, b = [0.9, 0.5, 0.1, 0.7], [0.89, 0.48, 0.09, 0.68]
    assert share_of_first([a, b], paired=True) > 0.9
    assert 0.5 < share_of_first([a, b], paired=False) < 0.6
    uneven = drawn_means([[0.1, 0.2, 0.3], [0.1, 0.2]], paired=False)
    assert uneven.shape == (9999, 2)


def test_groups_far_apart_are_not_shrunk_and_equal_ones_share():
    far = drawn_means([[1.0, 1.1, 0.9], [9.0, 9.1, 8.9], [5.0, 5.1, 4.9]], paired=False)
    assert far.mean(axis=0) == pytest.approx([1, 9, 5], abs=0.05)
    assert best_shares(far, higher_is_better=True)[1] > 0.999
    same = best_shares(drawn_means([[3.0, 3.0]] * 4, paired=False), higher_is_better=True)
    assert same == pytest.approx([0.25] * 4)
    alike = drawn_means([[1.0, 2.0, 3.0]] * 4, paired=True)
    assert best_shares(alike, higher_is_better=True) == pytest.approx([0.25] * 4, abs=0.02)


@given(
    st.lists(st.lists(st.integers(-99, 99), min_size=3, max_size=3), min_size=2, max_size=5),
    st.booleans(),
    st.sampled_from([0.25, 8.0]),
)
def test_shares_know_no_unit(groups, paired, factor):
    scaled = [[factor * x + 64 for x in group] for group in groups]
    one, other = (
        best_shares(drawn_means(g, paired=paired, draws=299), higher_is_better=True)
        for g in (groups, scaled)
    )
    assert one == pytest.approx(other, abs=0.01)
    assert sum(one) == pytest.approx(1)


def choices(trials, *, times):
    """What was said of the best of some groups, and how right it was: shared by equal ones."""
    draw, found = np.random.default_rng(8), []
    for trial in range(trials):
        k, n, paired = (
            draw.choice([2, 4, 12]),
            draw.choice([5, 10] if times else [3, 5, 10]),
            trial % 2,
        )
        true = draw.choice([0.0, 0.3, 1.0, 3.0]) * SHAPES[trial % 3](draw, k)
        noise = draw.normal(size=(k, n)) if trial % 4 < 2 else draw.standard_t(3, (k, n)) / 3**0.5
        runs = true[:, None] + noise + paired * draw.normal(size=n)
        best = true == (true.min() if times else true.max())
        if times:
            groups = [[Reading.of(math.exp(0.3 * x)) for x in row] for row in runs]
            drawn = drawn_times(groups, paired=bool(paired), draws=499, seed=trial)
            chosen = np.median(runs, axis=1).argmin()
        else:
            drawn = drawn_means(runs.tolist(), paired=bool(paired), draws=499, seed=trial)
            chosen = runs.mean(axis=1).argmax()
        said = best_shares(drawn, higher_is_better=not times)[chosen]
        found.append((said, best[chosen] / best.sum()))
    return np.array(found)


SHAPES = (
    lambda draw, k: np.arange(k) == draw.integers(k),  # one is better
    lambda draw, k: draw.permutation(k) / (k - 1),
    lambda draw, k: draw.normal(size=k),
)


@pytest.mark.slow
@pytest.mark.parametrize("times", [False, True])
def test_the_best_is_the_best_as_often_as_is_said(times):
    found = choices(3000, times=times)
    for low, high in ((0, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 0.9), (0.9, 1.01)):
        said, right = found[(found[:, 0] >= low) & (found[:, 0] < high)].T
        chance = 2 * math.sqrt(right.mean() * (1 - right.mean()) / len(right))
        assert said.mean() == pytest.approx(right.mean(), abs=0.05 + chance)


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
        expected = kaplan_meier_median([r.value for r in drawn], [r.reached for r in drawn]).value
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


def test_where_a_time_was_not_reached_the_runs_are_drawn_again():
    groups = [[Reading.of(x) for x in (2.0, 3.0, 4.0)], [Reading.of(1.0), Reading(5.0, np.inf)]]
    assert (drawn_times(groups, paired=False) == drawn_medians(groups, paired=False)).all()
    between = [[Reading(1.0, 3.0)] * 3, [Reading(3.0, 5.0)] * 3]
    assert np.median(drawn_times(between, paired=True), axis=0) == pytest.approx([2, 4], rel=0.05)


@pytest.mark.parametrize("lost", [[], [Reading(9.0, np.inf)] * 2])
def test_no_choice_is_surer_than_the_spacing_of_the_evaluations(lost):
    coarse = [Reading(0.0, 6.0)] * 8  # there may be any time, 4.5 in 75 cases of 100
    dense = [Reading(4.4 + k / 100, 4.5 + k / 100) for k in range(8)] + lost
    drawn = drawn_times([coarse, dense], paired=False)
    assert best_shares(drawn, higher_is_better=False)[0] == pytest.approx(0.75, abs=0.03)
    low, high = change_range(drawn, best=0, other=1, ratio=True)
    assert low < -0.2
    assert high is None or high > 10


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
