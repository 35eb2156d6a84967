import pytest

from mnistbench.analysis.stability import (
    DRIFT_BOUND,
    drift,
    is_unstable,
    level_difference,
    mark_notes,
    ran_beside_others,
    time_mark,
)
from mnistbench.schema.record import Canary, CanaryReading


def canary(before=(100e9, 10e9), after=(100e9, 10e9)):
    names = ("matmul_flops_per_s", "copy_bytes_per_s")
    first, second = (
        CanaryReading(**dict(zip(names, speeds, strict=True))) for speeds in (before, after)
    )
    return Canary(before=first, after=second)


@pytest.mark.parametrize(
    ("after", "expected"),
    [((100e9, 10e9), 0.0), ((80e9, 10e9), 0.2), ((101e9, 13e9), 0.3), ((150e9, 5e9), 0.5)],
)
def test_drift_is_the_larger_change_either_way(after, expected):
    assert drift(canary(after=after)) == pytest.approx(expected)


def test_a_run_is_unstable_only_past_the_bound(make_record):
    inside = 100e9 * (1 - 0.9 * DRIFT_BOUND)
    outside = 100e9 * (1 - 1.1 * DRIFT_BOUND)
    assert not is_unstable(make_record(canary=canary(after=(inside, 10e9))))
    assert is_unstable(make_record(canary=canary(after=(outside, 10e9))))


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
    assert level_difference(a, b) == pytest.approx(-0.2)
    assert level_difference(b, a) == pytest.approx(0.25)
    assert level_difference(a, a) == 0


def test_levels_are_unknown_without_a_canary(make_record):
    assert level_difference([make_record()], [make_record(canary=canary())]) is None
