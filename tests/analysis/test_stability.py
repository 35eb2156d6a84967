import math

import pytest

from mnistbench.analysis.machine_drift import DRIFT_BOUND, drift, machine_change
from mnistbench.analysis.stability import (
    cores_taken,
    is_profiled,
    is_unstable,
    mark_notes,
    ran_beside_others,
    time_mark,
    without_profiled,
)
from mnistbench.schema.errors import InputError
from mnistbench.schema.insight import Telemetry
from mnistbench.schema.record import Canary, CanaryReading, Throughput
from tests.made_records import profiled


def canary(before=(100e9, 10e9), after=(100e9, 10e9)):
    names = ("matmul_flops_per_s", "copy_bytes_per_s")
    first, second = (
        CanaryReading(**dict(zip(names, speeds, strict=True))) for speeds in (before, after)
    )
    return Canary(before=first, after=second)


@pytest.mark.parametrize(
    ("after", "expected"),
    [((100e9, 10e9), 0.0), ((80e9, 10e9), 0.25), ((101e9, 13e9), 0.3), ((150e9, 5e9), 1.0)],
)
def test_drift_is_the_larger_change_either_way(after, expected):
    assert drift(canary(after=after)) == pytest.approx(expected)
    assert drift(canary(before=after, after=(100e9, 10e9))) == pytest.approx(expected)


def test_a_run_is_unstable_only_past_the_bound(make_record):
    for factor, unstable in ((0.9, False), (1.1, True)):
        moved = (100e9 * (1 + factor * DRIFT_BOUND), 10e9)
        for change in ({"after": moved}, {"before": moved}):  # as far, whichever came first
            assert is_unstable(make_record(canary=canary(**change))) == unstable


def test_a_run_without_a_canary_is_not_called_unstable(make_record):
    assert not is_unstable(make_record())


@pytest.mark.parametrize(("told", "beside"), [(True, False), (False, True), (None, False)])
def test_only_a_run_that_says_so_ran_beside_others(make_record, told, beside):
    environment = make_record().environment | ({} if told is None else {"measured_alone": told})
    record = make_record(environment=environment)
    assert ran_beside_others(record) == beside
    assert time_mark([record]) == "‡" * beside
    assert bool(mark_notes([[record]])) == beside


def test_levels_compare_the_machine_between_two_sets_of_runs(make_record):
    slow = (80e9, 9.5e9)
    a = [make_record(seed, canary=canary()) for seed in range(3)]
    b = [make_record(seed, canary=canary(before=slow, after=slow)) for seed in range(3)]
    there, back = machine_change(a, b), machine_change(b, a)
    assert (there.low, there.high) == pytest.approx((math.log(0.8), math.log(0.95)))
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    assert not there.moved
    assert machine_change(a, a) == (pytest.approx(0), pytest.approx(0), False)
    slower = [make_record(9, canary=canary(before=(70e9, 10e9), after=(70e9, 10e9)))]
    assert machine_change(a, slower).moved
    assert machine_change(slower, a).moved


def test_a_change_of_the_machine_has_the_noise_of_its_probe(make_record):
    noisy = [
        make_record(seed, canary=canary(*[(speed, 10e9)] * 2))
        for seed, speed in enumerate((90e9, 100e9, 110e9))
    ]
    change = machine_change(noisy, noisy)
    assert -change.low == pytest.approx(change.high)
    # Student's t of 4 degrees of freedom, spread 0.1, 3 runs a side
    assert change.high == pytest.approx(2.776 * 0.1 * (2 / 3) ** 0.5, rel=0.02)
    one = machine_change(noisy[:1], noisy[:1])  # no spread is known
    assert one.high == pytest.approx(math.log1p(DRIFT_BOUND))


def test_levels_are_unknown_without_a_canary(make_record):
    assert machine_change([make_record()], [make_record(canary=canary())]) is None


@pytest.mark.parametrize(
    ("seconds", "train_s", "still"),
    [
        (6.0, 10.0, True),
        (0.3, 10.0, True),
        (0.3, 100.0, False),
        (0.1, 0.1, False),
        (None, 6, False),
    ],
)
def test_a_run_that_stood_still_is_marked(make_record, seconds, train_s, still):
    spent = make_record().phases_s | {"train": train_s, "other": 0.0}
    record = make_record(stood_still_s=seconds, phases_s=spent, wall_s=train_s)
    assert time_mark([make_record(1), record]) == "¶" * still
    note = (
        f"¶ stood still for {seconds or 0:g} s or more (1 of 2 runs), stopped, frozen or throttled"
    )
    assert mark_notes([[record, make_record(1)]]) == [f"{note}: no time verdict"] * still


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"wall_s": 10.09}, []),
        ({"wall_s": 16.0, "phases_s": {}}, []),
        ({"wall_s": 16.0}, ["6 s of a run's wall s are in none of its phases: the machine slept"]),
        ({"num_steps": 100, "throughput": Throughput(step_s_p50=0.05)}, []),
        (
            {"num_steps": 100, "throughput": Throughput(step_s_p50=0.01)},
            ["few steps took most of a train clock: 6 times their median step's"],
        ),
    ],
)
def test_clocks_that_say_different_times_are_told_of(make_record, changes, said):
    notes = mark_notes([[make_record(0, **changes)], [make_record(1)]])
    assert [note.split(", or a clock")[0] for note in notes] == said


@pytest.mark.parametrize(
    "how", [{"kinds": ["torch"]}, {"kinds": [], "hooks": ["Watcher"]}, {"kinds": ["nvtx"]}]
)
def test_a_run_whose_steps_were_watched_is_marked(make_record, how):
    record = profiled(make_record(), **how)
    assert is_profiled(record)
    assert time_mark([make_record(1), record]) == "§"
    assert mark_notes([[record], [make_record()]]) == [
        "§ profiled (the run): these times include what watching cost, and are in no comparison"
    ]


def test_a_run_that_failed_before_its_profile_was_kept_is_profiled_too(make_record):
    asked = profiled(make_record()).model_copy(update={"profile": None, "status": "failed"})
    assert is_profiled(asked)
    assert not is_profiled(make_record())


def test_profiled_runs_are_left_out_and_told_of(make_record):
    runs = [make_record(0), profiled(make_record(1)), make_record(2)]
    kept, told = without_profiled(runs, command="compare", of=" of A")
    assert kept == [runs[0], runs[2]]
    assert told == ["1 of 3 runs of A were profiled and are left out: that costs time"]
    assert without_profiled(kept, command="compare") == (kept, [])
    assert without_profiled([], command="compare") == ([], [])


def test_where_nothing_else_is_left_it_is_one_line(make_record):
    runs = [profiled(make_record(seed)) for seed in range(2)]
    with pytest.raises(InputError, match=r"^select: all 2 runs were profiled, which costs time"):
        without_profiled(runs, command="select")
    with pytest.raises(InputError, match=r"^compare: the run of B was profiled, .*--profile$"):
        without_profiled(runs[:1], command="compare", of=" of B")


def crowded(record, others, **environment):
    telemetry = Telemetry(num_samples=3, others_cores_during=others)
    around = {"num_usable_cores": 4, "num_machines": 1} | environment
    return record.model_copy(
        update={"telemetry": telemetry, "environment": record.environment | around}
    )


@pytest.mark.parametrize(
    ("others", "environment", "share"),
    [
        (1.0, {"num_processes": 2, "num_threads": 2}, 0.25),
        (1.0, {"num_processes": 2, "num_threads": 1}, 0.0),
        (9.0, {"num_processes": 1, "num_threads": 4}, 1.0),
        (3.0, {"num_processes": 4, "num_threads": 1, "num_machines": 2}, 0.5),
        (3.0, {"num_processes": 1, "num_threads": 4, "device_type": "cuda"}, 0.0),
        (None, {"num_processes": 1, "num_threads": 4}, None),
        (3.0, {"num_processes": 1, "num_threads": 4, "num_usable_cores": None}, None),
        (3.0, {"num_processes": 1, "num_threads": 4, "measured_alone": False}, None),
    ],
)
def test_cores_are_taken_as_far_as_others_leave_too_few(make_record, others, environment, share):
    record = crowded(make_record(), others, **environment)
    assert cores_taken(record) == share
    told = bool(mark_notes([[record]])) and not ran_beside_others(record)
    assert told == bool(share and share > 0.1)


def test_others_on_the_cores_are_told_of_once_for_all_runs(make_record):
    busy = {"num_processes": 1, "num_threads": 4}
    runs = [crowded(make_record(seed), others, **busy) for seed, others in enumerate((0.1, 1, 2))]
    mend = "; --num-threads 1 or OMP_WAIT_POLICY=passive lose less beside them"
    said = f"others kept up to 2.0 of 4 cores busy during 2 of 3 runs{mend}"
    assert mark_notes([runs[:2], runs[2:]]) == [said]
    assert cores_taken(make_record()) is None
    one = crowded(make_record(), 0.5, num_processes=1, num_threads=1, num_usable_cores=1)
    assert mark_notes([[one]]) == ["others kept up to 0.5 of 1 core busy during the run"]
