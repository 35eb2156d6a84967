"""What the intervals and tests promise, counted by simulation with fixed seeds."""

import math

import numpy as np
import pytest

from mnistbench.stats.expected_time import expected_running_time
from mnistbench.stats.intervals import mean_interval, median_interval
from mnistbench.stats.rank_tests import rank_test, seeds_needed, shift
from mnistbench.stats.readings import Reading
from mnistbench.stats.survival import (
    kaplan_meier_median,
    median_reading,
)

NOMINAL = (0.93, 0.97)
NOISE = {
    "normal": lambda draw, n: draw.normal(size=n),
    "heavy": lambda draw, n: draw.standard_t(3, size=n) / math.sqrt(3),  # a variance of 1, too
    "skewed": lambda draw, n: draw.exponential(size=n) - 1,
}


def coverage(trials, truth, interval):
    """The part of `trials` intervals that hold the truth, and that have both bounds."""
    draw, covered, bounded = np.random.default_rng(11), 0, 0
    for _ in range(trials):
        low, high = interval(draw)
        covered += (low is None or low <= truth) and (high is None or truth <= high)
        bounded += low is not None and high is not None
    return covered / trials, bounded / trials


def within(part, bounds=NOMINAL):
    return bounds[0] <= part <= bounds[1]


@pytest.mark.parametrize("n", [3, 5, 10])
def test_t_intervals_of_the_mean_cover_95_percent(n):
    def interval(draw):
        return mean_interval(draw.normal(size=n).tolist())[1:]

    covered, _ = coverage(4000, 0, interval)
    assert within(covered)


@pytest.mark.parametrize("noise", ["normal", "skewed"])
@pytest.mark.parametrize("n", [6, 10, 15, 30])
def test_intervals_of_the_median_cover_95_percent(noise, n):
    truth = math.log(2) - 1 if noise == "skewed" else 0
    covered, bounded = coverage(
        3000, truth, lambda draw: median_interval(NOISE[noise](draw, n).tolist())[1:]
    )
    assert within(covered)
    assert bounded == 1


def censored(draw, n, ends):
    """Times with median 1 of runs of which some 30 % end before, at random or all at once."""
    times = np.exp(0.5 * draw.normal(size=n))
    end = draw.uniform(0, 3.75, size=n) if ends == "at random" else np.full(n, 1.3)
    return np.minimum(times, end).tolist(), (times <= end).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["at random", "at once"])
@pytest.mark.parametrize("n", [10, 20, 40])
def test_intervals_of_the_censored_median_cover_95_percent(ends, n):
    part_reached = np.mean([censored(np.random.default_rng(s), n, ends)[1] for s in range(200)])
    assert part_reached == pytest.approx(0.7, abs=0.02)
    covered, bounded = coverage(
        3000, 1, lambda draw: kaplan_meier_median(*censored(draw, n, ends))[1:3]
    )
    assert within(covered)
    assert n < 40 or bounded > 0.6


@pytest.mark.parametrize("n", [3, 5])
def test_intervals_of_a_few_censored_runs_do_not_claim_too_much(n):
    covered, _ = coverage(
        2000, 1, lambda draw: kaplan_meier_median(*censored(draw, n, "at random"))[1:3]
    )
    assert covered > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("spacing", [0.05, 0.3])
@pytest.mark.parametrize("n", [6, 12])
def test_intervals_between_evaluations_cover_95_percent_however_coarse(n, spacing):
    def interval(draw):
        every = spacing * draw.uniform(0.97, 1.03, n)
        lows = every * np.floor(np.exp(0.2 * draw.normal(size=n)) / every)
        highs = np.where(lows + every <= 1.6, lows + every, np.inf)
        return median_reading([Reading(*ends) for ends in zip(lows, highs, strict=True)])[1:3]

    covered, bounded = coverage(500, 1, interval)
    assert covered >= 0.94  # wider than need be where the truth is not seen
    assert bounded > 0.75  # the upper end is that of six, where one may not get there


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("n", [5, 10, 20])
def test_intervals_of_expected_running_time_cover_95_percent_where_there_is_one(n, share):
    draw, covered, truth = np.random.default_rng(n), [], 1 + 3 * (1 - share) / share
    for trial in range(300):
        reached = draw.random(n) < share
        times = np.where(reached, np.exp(0.3 * draw.normal(size=n) - 0.045), 3.0)
        _, low, high, *_ = expected_running_time(times.tolist(), reached.tolist(), seed=trial)
        if low is not None:
            covered.append(low <= truth and (high is None or truth <= high))
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize("paired", [True, False])
def test_intervals_of_a_shift_cover_95_percent(paired):
    def interval(draw):
        return shift(draw.normal(size=10), draw.normal(size=10) + 0.7, paired=paired)[1:]

    covered, bounded = coverage(3000, 0.7, interval)
    assert within(covered, (0.94, 0.97))
    assert bounded == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_a", "n_b", "least"), [(5, 5, 0.92), (5, 15, 0.92), (20, 20, 0.92), (15, 5, 0.895)]
)
def test_intervals_of_a_shift_cover_where_b_scatters_three_times_as_much(n_a, n_b, least):
    def interval(draw):
        return shift(draw.normal(size=n_a), 3 * draw.normal(size=n_b) + 1, paired=False)[1:]

    covered, bounded = coverage(1000, 1, interval)
    assert covered >= least  # 15 and 5: with Mann and Whitney's test 0.90
    assert bounded == 1


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("decimals", [1, 9])
def test_comparing_a_thing_with_itself_is_a_false_alarm_in_at_most_5_percent(
    paired, noise, decimals
):
    draw, alarms = np.random.default_rng(7), []
    trials = 1500 if paired or decimals > 1 else 300  # ties have splits of their own
    for trial in range(trials):
        a, b = (NOISE[noise](draw, 6 + trial % 7).round(decimals) for _ in "ab")
        alarms.append(rank_test(a, b, paired=paired) < 0.05)
    assert np.mean(alarms) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / trials)


def sides(draw, noise, n, *, paired):
    """Runs of A and B whose differences have variance 1 if paired, as each side has if not."""
    a, b = NOISE[noise](draw, n), NOISE[noise](draw, n)
    return a, a + b if paired else b


def found(noise, n, difference, *, paired, trials=250):
    """How often a shift by `difference` is found with `n` fresh runs on each side."""
    draw, hits = np.random.default_rng(n), 0
    for _ in range(trials):
        a, b = sides(draw, noise, n, paired=paired)
        hits += rank_test(a, b + difference, paired=paired) < 0.05
    return hits / trials


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("noise", ["normal", "heavy"])
@pytest.mark.parametrize("difference", [0.5, 1.0])
def test_the_seeds_that_a_pilot_asks_for_find_the_difference(paired, noise, difference):
    draw, wanted = np.random.default_rng(3), []
    for pilot in range(300):
        a, b = sides(draw, noise, 8 + pilot % 5, paired=paired)
        wanted.append(seeds_needed(a, b, difference=difference, paired=paired))
    sizes = np.unique(np.geomspace(6, 200, 14).astype(int))
    power = [found(noise, n, difference, paired=paired) for n in sizes]
    assert np.mean(np.interp(wanted, sizes, power)) >= 0.9
    enough = np.interp(0.9, np.maximum.accumulate(power), sizes)
    assert np.mean(wanted) < 2 * enough
