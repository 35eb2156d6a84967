"""What several processes gained over one, and of what that is made."""

import numpy as np
import pytest

from mnistbench.analysis.scaling.families import families_of
from mnistbench.analysis.scaling.gains import measure
from mnistbench.schema.record import Throughput
from tests.made_sweep import make_sweep, true_step_s


def rows_of(records, target=0.97):
    (family,) = families_of(records)
    return measure(family.setups, target)


def gain_of(records, processes, batch, scaling="strong"):
    (row,) = (
        row
        for row in rows_of(records)
        if (row.setup.num_processes, row.setup.global_batch_size) == (processes, batch)
    )
    return next(gain for gain in row.gains if gain.scaling == scaling)


def test_strong_scaling_gains_by_the_step_alone():
    gain = gain_of(make_sweep(noise=0.0), 2, 256)
    expected = true_step_s(1, 256) / true_step_s(2, 256)
    assert gain.speed.value == pytest.approx(expected)
    assert gain.hardware.value == pytest.approx(expected)
    assert gain.steps == (1, 1, 1)  # a seed takes as many steps on any processes
    assert gain.time.value == pytest.approx(expected)


def test_weak_scaling_splits_into_a_longer_step_and_fewer_of_them():
    gain = gain_of(make_sweep(noise=0.0, step_noise=0.0), 4, 256, "weak")
    longer = true_step_s(1, 64) / true_step_s(4, 256, contention=2)
    fewer = (1 + 500 / 64) / (1 + 500 / 256)
    assert gain.base.global_batch_size == 64
    assert gain.hardware.value == pytest.approx(longer)
    assert gain.steps.value == pytest.approx(fewer, rel=0.01)
    assert gain.time.value == pytest.approx(longer * fewer, rel=0.01)
    assert gain.speed.value == pytest.approx(4 * longer)


def test_one_process_of_as_many_threads_is_compared_with_first():
    fewer = make_sweep(processes=(1, 2), threads=lambda n: 2 // n)
    assert gain_of(fewer, 2, 64).base.num_threads == 2
    assert gain_of([*fewer, *make_sweep(processes=(1,))], 2, 64).base.num_threads == 1


def test_a_batch_that_one_process_was_not_run_with_has_no_gain():
    rows = rows_of([*make_sweep(processes=(1,), batches=(64,)), *make_sweep(processes=(2,))])
    assert [len(row.gains) for row in rows] == [0, 1, 0]


def test_welchs_interval_covers_the_true_ratio():
    draw, covered, trials = np.random.default_rng(5), 0, 300
    records = make_sweep(processes=(1, 2), batches=(64,), seeds=range(4))
    for _ in range(trials):
        speeds = np.exp(draw.normal(size=8) * np.repeat([0.01, 0.05], 4))
        noisy = [
            run.model_copy(update={"throughput": Throughput(samples_per_s=1000 * speed)})
            for run, speed in zip(records, speeds, strict=True)
        ]
        gain = gain_of(noisy, 2, 64)
        covered += gain.speed.low <= 1 <= gain.speed.high
    assert 0.92 <= covered / trials <= 0.98


def test_single_runs_have_a_ratio_without_bounds():
    gain = gain_of(make_sweep(seeds=[0]), 2, 64)
    assert gain.speed[1:] == (None, None)
    assert gain.time[1:] == (None, None)


def test_equal_speeds_are_an_interval_without_width():
    records = [
        run.model_copy(update={"throughput": Throughput(samples_per_s=100.0)})
        for run in make_sweep(processes=(1, 2), batches=(64,))
    ]
    assert gain_of(records, 2, 64).speed == (1, 1, 1)


def test_runs_that_shared_their_cores_count_in_steps_and_not_in_times():
    records = [
        *make_sweep(processes=(1,), batches=(64,)),
        *make_sweep(processes=(2,), batches=(64,), environment={"measured_alone": False}),
    ]
    (_, row) = rows_of(records)
    assert (row.samples_per_s, row.step_s, row.time_s, row.split) == (None, None, None, None)
    assert row.steps.reached == 5
    (gain,) = row.gains
    assert (gain.speed, gain.time, gain.hardware) == (None, None, None)
    assert gain.steps.value == 1


def test_a_target_that_is_not_reached_gives_no_ratio_of_times():
    (_, row) = rows_of(make_sweep(processes=(1, 2), batches=(64,), reached=False))
    assert row.time_s.median is None
    assert row.gains[0].time is None
    assert row.gains[0].speed is not None


def test_ratios_are_open_where_resamples_may_not_arrive():
    lost = make_sweep(processes=(2,), batches=(64,), seeds=[0, 1], reached=False)
    records = [
        *make_sweep(processes=(1,), batches=(64,)),
        *lost,
        *make_sweep(processes=(2,), batches=(64,), seeds=[2, 3, 4]),
    ]
    _, low, high = gain_of(records, 2, 64).time
    assert low is None
    assert high is not None


def test_the_split_is_the_mean_and_the_slowest_process_that_of_most_runs():
    records = make_sweep(processes=(1, 2), batches=(64,))
    split = records[5].throughput.step_split
    other = split.model_copy(update={"slowest_process": 0})
    records[5] = records[5].model_copy(
        update={"throughput": records[5].throughput.model_copy(update={"step_split": other})}
    )
    (_, row) = rows_of(records)
    assert row.split.slowest_process == 1
    compute = [run.throughput.step_split.compute_s for run in row.setup.runs]
    assert row.split.compute_s == pytest.approx(sum(compute) / 5)
    assert rows_of(make_sweep(split=False))[2].split is None
