import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.analysis.bottleneck import LIMITS, limits, limits_line, limits_notes, step_shares
from mnistbench.schema.insight import Ceilings, StepCosts, Telemetry
from tests.made_records import make_record

CEILINGS = Ceilings(matmul_flops_per_s=1e11, copy_bytes_per_s=1e10, cached_copy_bytes_per_s=5e10)


def costs(**changes):
    values = {
        "step_s": 0.010,
        "loader_s": 0.001,
        "overhead_s": 0.001,
        "arithmetic_s": 0.002,
        "traffic_s": 0.001,
        "flops": 200_000_000,
        "traffic_bytes": 10_000_000,
        "ceilings": CEILINGS,
        "num_steps": 50,
    }
    return StepCosts(**values | changes)


def diagnosed(environment=None, config=None, **changes):
    record = make_record(step_costs=costs(**changes))
    return record.model_copy(
        update={
            "environment": record.environment | (environment or {}),
            "config": record.config | (config or {}),
        }
    )


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"loader_s": 0.006}, "loader-bound"),
        ({"overhead_s": 0.006}, "launch-bound"),
        ({"communication_s": 0.006}, "communication-bound"),
        ({}, "compute-bound"),
        ({"traffic_s": 0.004}, "memory-bound"),
    ],
)
def test_the_largest_part_of_a_step_is_what_limits_it(changes, name):
    assert limits(diagnosed(**changes)).name == name


def test_a_run_that_was_not_diagnosed_has_no_verdict():
    assert limits(make_record()) is None
    assert limits_line(make_record()) is None


def test_the_line_says_figures_and_what_to_try():
    line = limits_line(diagnosed())
    assert line == (
        "compute-bound: 53% of a step's 10 ms are arithmetic, at 20 of 100 GFLOP/s (20%); "
        "try --matmul-precision medium"
    )


@pytest.mark.parametrize(
    ("changes", "environment", "config", "advice"),
    [
        ({"loader_s": 0.006}, {}, {"loader": "streaming"}, "--loader resident"),
        ({"loader_s": 0.006}, {}, {"loader": "resident"}, "--global-batch-size 128"),
        ({"overhead_s": 0.006}, {"loop_floor": "stock"}, {"loop": "stock"}, "--loop fast"),
        ({"overhead_s": 0.006}, {"loop_floor": "eager"}, {}, "--compile"),
        (
            {"overhead_s": 0.006},
            {"loop_floor": "eager", "device_type": "cuda"},
            {"cuda_graph": False},
            "--cuda-graph",
        ),
        ({"traffic_s": 0.004}, {"loop_floor": "eager"}, {}, "--compile"),
        (
            {"traffic_s": 0.004},
            {"loop_floor": "compiled", "mixed_precision": "bf16"},
            {},
            None,
        ),
        ({}, {"num_processes": 1, "num_threads": 1, "num_usable_cores": 4}, {}, "--num-threads 4"),
        ({}, {}, {"matmul_precision": "medium"}, None),
        ({}, {"device_type": "cuda"}, {}, "--mixed-precision bf16"),
        ({}, {"device_type": "cuda", "mixed_precision": "bf16"}, {}, "more processes"),
    ],
)
def test_advice_is_the_first_flag_that_is_not_set_yet(changes, environment, config, advice):
    assert limits(diagnosed(environment, config, **changes)).advice == advice


seconds = st.floats(0, 10)


@given(
    step_s=st.floats(1e-6, 10),
    loader_s=seconds,
    overhead_s=st.none() | seconds,
    communication_s=st.none() | seconds,
    arithmetic_s=seconds,
    traffic_s=seconds,
)
def test_shares_add_up_to_one_whatever_was_measured(**changes):
    shares = step_shares(costs(**changes))
    assert set(shares) == set(LIMITS) - {"host-noise"}
    assert all(share >= -1e-9 for share in shares.values())
    known = sum(shares.values())
    assert known == pytest.approx(1) or (changes["overhead_s"] is None and known < 1)


@given(flops=st.integers(0, 2**62), traffic=st.integers(0, 2**62))
def test_every_verdict_has_one_line_of_evidence(flops, traffic):
    for changes in ({"loader_s": 1.0}, {"overhead_s": 1.0}, {"traffic_s": 9.0}, {}):
        line = limits_line(diagnosed(flops=flops, traffic_bytes=traffic, **changes))
        assert line
        assert "\n" not in line


def test_a_group_is_told_what_limits_most_of_its_runs():
    slow, *others = (make_record(seed=seed, step_costs=costs()) for seed in range(3))
    slow = slow.model_copy(update={"step_costs": costs(loader_s=0.006)})
    [line] = limits_notes([[slow, *others]])
    assert line.startswith("compute-bound: 53% of")
    assert line.endswith("(2 of 3 runs)")


def test_only_groups_with_diagnosed_runs_are_told_of_and_by_name():
    plain, asked = make_record(), make_record(name="cnn4-ce", step_costs=costs())
    [line] = limits_notes([[plain], [asked]])
    assert line.startswith("cnn4-ce on mnist: compute-bound")


def beside_a_neighbour(others, **changes):
    """A diagnosed run of two threads on four cores, of which others kept so many busy."""
    machine = {"num_usable_cores": 4, "num_processes": 1, "num_machines": 1, "num_threads": 2}
    record = diagnosed(environment=machine, **changes)
    telemetry = Telemetry(num_samples=1, others_cores_during=others)
    return record.model_copy(update={"telemetry": telemetry})


def test_where_others_took_the_cores_nothing_else_is_said():
    found = limits(beside_a_neighbour(3.0, loader_s=0.006))
    assert found.name == "host-noise"
    assert found.evidence == "others took 50% of the cores that this run was to use"
    assert found.advice == "again on a machine that is quiet"


def test_neighbours_on_cores_that_were_idle_do_not_matter():
    assert limits(beside_a_neighbour(2.0, loader_s=0.006)).name == "loader-bound"


def test_what_cannot_be_told_from_calls_is_called_nothing():
    """A captured step: its calls have no time of their own, and its work little."""
    assert limits(diagnosed(overhead_s=None)) is None
    assert limits_line(diagnosed(overhead_s=None)).startswith("not told: most of a step")
    assert limits(diagnosed(overhead_s=None, arithmetic_s=0.008)).name == "compute-bound"
    assert limits(diagnosed(overhead_s=None, loader_s=0.006)).name == "loader-bound"
