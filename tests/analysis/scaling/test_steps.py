"""Steps to a target against the batch: recovered, resampled, and honest about few seeds."""

import numpy as np
import pytest

from mnistbench.analysis.scaling.families import families_of
from mnistbench.analysis.scaling.steps import RESAMPLES, steps_to_target
from tests.made_sweep import make_run, make_sweep


def steps_of(**values):
    (family,) = families_of(make_sweep(**values))
    return steps_to_target(family.setups, 0.97)


def test_steps_without_noise_give_the_noise_batch_back():
    steps = steps_of(batches=(64, 128, 256, 1024), step_noise=0.0)
    assert steps.noise_batch == pytest.approx(500, rel=0.01)
    seen = 75  # of 100: the runs were read at half of their steps, and at the end
    assert steps.curve[0] == pytest.approx(seen, rel=0.01)
    assert np.exp(steps.drawn_at(512)) == pytest.approx(steps.at(512), rel=0.05)
    assert steps.at(512) == pytest.approx(seen * (1 + 500 / 512), rel=0.01)
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
    assert list(steps.reached) == [64, 256]
    assert steps.lost_from == 1024
    assert steps.at(2048) is None
    assert steps.at(512) is not None
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


def test_a_small_batch_that_ran_out_of_steps_says_nothing_of_larger_ones():
    records = [*make_sweep(), *make_sweep(processes=(1,), batches=(16,), reached=False)]
    (family,) = families_of(records)
    steps = steps_to_target(family.setups, 0.97)
    assert steps.lost_from is None
    assert steps.at(512) is not None
    assert steps.at(16) is None


def test_two_batches_bound_themselves_and_no_other():
    two, three = steps_of(), steps_of(batches=(64, 128, 256))
    assert two.drawn_at(64) is not None
    assert two.drawn_at(512) is None
    assert two.at(512) is not None
    assert np.std(three.drawn_at(512)) > np.std(three.drawn_at(256))


def test_a_seed_counts_by_a_run_that_came_to_an_end():
    cut = make_run(1, 64, 0, reached=False, status="interrupted", num_steps=1)
    (family,) = families_of([cut, *make_sweep(processes=(1, 2), batches=(64,))[1:]])
    (whole,) = families_of(make_sweep(processes=(1, 2), batches=(64,)))
    assert (
        steps_to_target(family.setups, 0.97).medians == steps_to_target(whole.setups, 0.97).medians
    )


def test_negative_seeds_are_seeds():
    records = [run.model_copy(update={"seed": run.seed - 5}) for run in make_sweep()]
    (family,) = families_of(records)
    assert steps_to_target(family.setups, 0.97).drawn_at(64) is not None


def test_too_few_seeds_have_no_spread():
    steps = steps_of(seeds=range(4))
    assert steps.drawn == {}
    assert steps.drawn_at(64) is None
    assert steps.drawn_at(100) is None
    assert steps.at(100) is not None
