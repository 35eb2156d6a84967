"""Steps to a target against the batch: recovered, resampled, and honest about few seeds."""

import math
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.analysis.scaling.setups import families_of
from mnistbench.analysis.scaling.steps import (
    RESAMPLES,
    interval,
    repeated_medians,
    resampled_medians,
    steps_to_target,
    widened,
)
from mnistbench.analysis.scoring import Reading
from mnistbench.analysis.survival import kaplan_meier_median
from tests.analysis.scaling.made_sweep import make_sweep


def steps_of(**values):
    (family,) = families_of(make_sweep(**values))
    return steps_to_target(family.setups, 0.97)


def test_steps_without_noise_give_the_noise_batch_back():
    steps = steps_of(batches=(64, 128, 256, 1024), step_noise=0.0)
    assert steps.noise_batch == pytest.approx(500, rel=0.01)
    assert steps.min_steps == pytest.approx(100, rel=0.01)
    assert steps.residual == pytest.approx(0, abs=0.005)
    assert steps.at(512) == pytest.approx(100 * (1 + 500 / 512), rel=0.01)
    assert steps.at(64) == steps.medians[64]


def test_one_batch_is_known_at_itself_only():
    steps = steps_of(batches=(64,))
    assert steps.at(64) is not None
    assert (steps.at(128), steps.drawn_at(128), steps.noise_batch) == (None, None, None)


def test_a_seed_counts_once_however_many_processes_ran_it():
    one, three = steps_of(processes=(1, 2)), steps_of(processes=(1, 2, 4))
    assert one.medians == three.medians
    assert np.array_equal(one.drawn[64], three.drawn[64])


def test_a_batch_that_never_arrives_is_not_reached_and_not_fitted():
    records = [
        *make_sweep(batches=(64, 256), step_noise=0.0),
        *make_sweep(processes=(1,), batches=(1024,), reached=False),
    ]
    (family,) = families_of(records)
    steps = steps_to_target(family.setups, 0.97)
    assert steps.medians[1024] is None
    assert steps.at(1024) is None
    assert steps.reached == [64, 256]
    assert steps.noise_batch == pytest.approx(500, rel=0.01)


def test_a_target_that_is_there_before_the_first_step_takes_one():
    records = [
        run.model_copy(update={"eval_points": [run.eval_points[-1].model_copy(update={"step": 0})]})
        for run in make_sweep()
    ]
    (family,) = families_of(records)
    steps = steps_to_target(family.setups, 0.97)
    assert steps.at(64) == 1
    assert steps.drawn_at(64).tolist() == [0.0] * RESAMPLES


def test_too_few_seeds_have_no_spread():
    steps = steps_of(seeds=range(4))
    assert steps.drawn == {}
    assert steps.drawn_at(64) is None
    assert steps.drawn_at(100) is None
    assert steps.at(100) is not None


RUNS = st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=12)


@given(RUNS, st.randoms(use_true_random=False))
def test_the_median_of_repeated_runs_is_kaplan_and_meiers(runs, draw):
    readings = [Reading(float(value), reached) for value, reached in runs]
    counts = [draw.randrange(3) for _ in runs]
    counts[0] += 1
    repeated = [run for run, count in zip(runs, counts, strict=True) for _ in range(count)]
    expected = kaplan_meier_median(*map(list, zip(*repeated, strict=True))).median
    (found,) = repeated_medians(readings, np.array([counts]))
    assert found == (math.inf if expected is None else expected)


def test_equal_seeds_are_resampled_alike_and_others_are_not():
    readings = [Reading(float(value)) for value in range(10)]
    first = resampled_medians(readings, seeds=range(10))
    assert len(first) == RESAMPLES
    assert np.array_equal(first, resampled_medians(readings, seeds=range(10)))
    assert not np.array_equal(first, resampled_medians(readings, seeds=range(1, 11)))


def test_intervals_of_a_median_of_few_runs_cover_what_they_say():
    draw, covered, trials = np.random.default_rng(3), 0, 400
    for _ in range(trials):
        times = np.exp(0.3 * draw.normal(size=7))
        centre = math.log(median(times))
        drawn = resampled_medians([Reading(t) for t in times], seeds=draw.integers(99, size=7))
        low, high = interval(widened(np.log(drawn), centre, 7), centre)
        covered += low <= 1 <= high
    assert 0.92 <= covered / trials <= 1


def test_an_interval_is_open_where_too_many_resamples_are_not_reached():
    logarithms = np.array([0.0] * 90 + [math.inf] * 10)
    assert interval(logarithms, 0.0) == (1.0, None)
    assert interval(-logarithms, 0.0) == (None, 1.0)
    assert interval(np.append(logarithms, math.nan), 0.0) == (None, None)
