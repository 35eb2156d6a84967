"""What several processes gained over one, and what kept it from more."""

from dataclasses import replace

import pytest

from mnistbench.analysis.scaling.speedup import measure, why_no_more
from mnistbench.analysis.scaling.topology import group_by_configuration
from mnistbench.analysis.scoring import reading_to_target, target_of
from mnistbench.schema.record import Link
from tests.made_sweep import Truth, make_sweep, true_step_s

PERFECT = Truth(fixed_s=0.0, per_sample_s=1e-4, call_s=0.0, num_parameters=1000)
FAST = Link(latency_s=1e-7, bandwidth_bytes_per_s=1e11)
SLOW = Link(latency_s=2e-3, bandwidth_bytes_per_s=1e7)


def rows_of(records, target=0.97):
    (topologies,) = group_by_configuration(records).values()
    return [measure(topology, topologies, target=target) for topology in topologies]


def gain_of(records, processes, batch, scaling="strong"):
    (row,) = (
        row
        for row in rows_of(records)
        if (row.topology.num_processes, row.topology.global_batch_size) == (processes, batch)
    )
    return next(gain for gain in row.speedups if gain.scaling == scaling)


def test_strong_scaling_gains_by_the_step_alone():
    gain = gain_of(make_sweep(noise=0.0), 2, 256)
    expected = true_step_s(1, 256) / true_step_s(2, 256)
    assert gain.speed.value == pytest.approx(expected)
    assert gain.efficiency == pytest.approx(expected / 2)
    assert gain.steps == (1, 1, 1)  # a seed takes as many steps on any processes
    assert gain.time.value == pytest.approx(expected)


def test_weak_scaling_splits_into_a_longer_step_and_fewer_of_them():
    gain = gain_of(make_sweep(noise=0.0, step_noise=0.0), 4, 256, "weak")
    longer = true_step_s(1, 64) / true_step_s(4, 256, crowd=2)
    fewer = (1 + 500 / 64) / (1 + 500 / 256)
    assert gain.base.global_batch_size == 64
    assert gain.speed.value == pytest.approx(4 * longer)
    assert gain.steps.value == pytest.approx(fewer, rel=0.01)
    assert gain.time.value == pytest.approx(longer * fewer, rel=0.01)


def test_one_process_of_as_many_threads_is_compared_with_first():
    fewer = make_sweep(processes=(1, 2), threads=lambda n: 2 // n)
    gain = gain_of(fewer, 2, 64)
    assert (gain.base.num_threads, gain.workers) == (2, 1)
    assert gain_of([*fewer, *make_sweep(processes=(1,))], 2, 64).base.num_threads == 1


def test_a_batch_that_one_process_was_not_run_with_has_no_speedup():
    rows = rows_of([*make_sweep(processes=(1,), batches=(64,)), *make_sweep(processes=(2,))])
    assert [len(row.speedups) for row in rows] == [0, 1, 0]


def test_single_runs_have_a_ratio_without_bounds():
    gain = gain_of(make_sweep(seeds=[0]), 2, 64)
    assert gain.speed[1:] == (None, None)
    assert gain.time[1:] == (None, None)


def test_runs_that_shared_their_cores_count_in_steps_and_not_in_times():
    records = [
        *make_sweep(processes=(1,), batches=(64,)),
        *make_sweep(processes=(2,), batches=(64,), environment={"measured_alone": False}),
    ]
    (_, row) = rows_of(records)
    assert (row.samples_per_s.value, row.time_s.value) == (None, None)
    assert (row.step_s, row.split) == (None, None)
    assert (row.steps.reached, row.n, row.timed) == (5, 5, 0)
    (gain,) = row.speedups
    assert (gain.speed, gain.time, gain.efficiency) == (None, None, None)
    assert gain.steps.value == 1


def test_a_target_that_is_not_reached_gives_no_ratio_of_times():
    (_, row) = rows_of(make_sweep(processes=(1, 2), batches=(64,), reached=False))
    assert row.time_s.value is None
    assert row.speedups[0].time is None
    assert row.speedups[0].speed is not None


def test_a_ratio_has_no_interval_where_a_run_missed_the_target():
    records = [
        *make_sweep(processes=(1,), batches=(64,)),
        *make_sweep(processes=(2,), batches=(64,), seeds=[0, 1], reached=False),
        *make_sweep(processes=(2,), batches=(64,), seeds=[2, 3, 4]),
    ]
    ratio = gain_of(records, 2, 64).time
    assert ratio is not None
    assert ratio[1:] == (None, None)


def test_a_ratio_of_times_holds_what_the_evaluations_leave_open():
    records = make_sweep(processes=(1, 2), batches=(256,), seeds=range(6))
    value, low, high = gain_of(records, 2, 256).time
    readings = [reading_to_target(run, target_of(run, 0.97)) for run in records]
    grain = min(1 - reading.low / reading.high for reading in readings)
    assert low < value < high
    assert high / low > 1 / (1 - grain)


def why(count=2, batch=64, scaling="strong", **values):
    records = make_sweep(**{"truth": PERFECT, "link": FAST, "noise": 0.001, "cores": 64} | values)
    rows = {(r.topology.num_processes, r.topology.global_batch_size): r for r in rows_of(records)}
    (gain,) = (g for g in rows[count, batch].speedups if g.scaling == scaling)
    return why_no_more(rows[count, batch].topology, gain)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, ""),
        ({"link": SLOW}, "communication is 58 % of a step"),
        ({"truth": replace(PERFECT, fixed_s=0.05)}, "computing more than its share is 47 % of"),
        (
            {"truth": replace(PERFECT, wait_share=0.9)},
            "waiting, mostly for process 1, is 47 % of a step",
        ),
        ({"cores": 2, "count": 4}, "the cores are all in use"),
        ({"split": False, "link": SLOW}, "the parts of a step were not measured"),
        (
            {"scaling": "weak", "count": 4, "batch": 256},
            "so large a batch takes 33 % of the steps",
        ),
        ({"environment": {"measured_alone": False}}, ""),
    ],
)
def test_the_largest_loss_is_named(values, says):
    found = why(**values)
    assert found.startswith(says) if says else not found


def test_threads_that_one_process_had_are_no_loss():
    """Four threads in place of two: half of the computing is their share, and they take it."""
    assert why(processes=(1, 2), threads=lambda n: 2 // n) == ""
