"""Which runs are one topology, which of them one configuration, and what cannot be compared."""

import pytest

from mnistbench.analysis.scaling.topology import common_target, group_by_configuration
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Result
from tests.made_sweep import make_run, make_sweep


def topologies_of(records):
    (topologies,) = group_by_configuration(records).values()
    return topologies


def test_runs_are_told_apart_by_processes_threads_and_batch():
    records = [*make_sweep(), *make_sweep(processes=(1,), threads=2)]
    setups = topologies_of(records[::-1])
    assert [(s.shape, s.global_batch_size, len(s.runs)) for s in setups] == [
        ("1 × 1", 64, 5),
        ("1 × 1", 256, 5),
        ("1 × 2", 64, 5),
        ("1 × 2", 256, 5),
        ("2 × 1", 64, 5),
        ("2 × 1", 256, 5),
        ("4 × 1", 64, 5),
        ("4 × 1", 256, 5),
    ]
    assert [run.seed for run in setups[0].runs] == [0, 1, 2, 3, 4]


def test_cores_are_shared_once_there_are_more_threads():
    by_count = {s.num_processes: s for s in topologies_of(make_sweep(batches=(64,)))}
    assert [by_count[n].threads_per_core for n in (1, 2, 4)] == [1, 1, 2]
    assert [by_count[n].num_workers for n in (1, 2, 4)] == [1, 2, 4]
    on_gpus = topologies_of(make_sweep(batches=(64,), cores=None, threads=lambda n: 16 // n))
    assert {(s.threads_per_core, s.num_threads) for s in on_gpus} == {(1, 1)}
    assert [s.num_workers for s in on_gpus] == [1, 2, 4]
    on_two_machines = make_sweep(batches=(64,), environment={"num_machines": 2})
    assert {s.threads_per_core for s in topologies_of(on_two_machines)} == {1}


def test_an_environment_that_says_nothing_sensible_counts_as_one():
    odd = {"num_threads": "many", "num_machines": None, "num_usable_cores": -1}
    setups = topologies_of(make_sweep(batches=(64,), environment=odd))
    assert {(s.num_threads, s.num_machines, s.num_cores) for s in setups} == {(1, 1, 0)}


def test_a_batch_given_for_each_device_is_the_global_batch_it_came_to():
    per_device = {"global_batch_size": None, "per_device_batch_size": 32}
    records = [*make_sweep(processes=(1,)), *make_sweep(processes=(2,), config=per_device)]
    assert len(topologies_of(records)) == 4


def test_with_a_learning_rate_that_follows_the_processes_batches_per_device_stay_apart():
    def weak(size):
        config = {"per_device_batch_size": size, "lr_scaling": "linear", "global_batch_size": None}
        return [run for n in (1, 2) for run in make_sweep((n,), (size * n,), config=config)]

    assert len(group_by_configuration([*weak(32), *weak(64)])) == 2


def test_parts_of_a_step_come_to_its_mean():
    (run,) = make_sweep(processes=(2,), batches=(64,), seeds=[0])
    slow = run.throughput.model_copy(update={"samples_per_s": run.throughput.samples_per_s / 1.5})
    records = [make_run(1, 64, 0), run.model_copy(update={"throughput": slow})]
    (_, two) = topologies_of(records)
    split, before = two.split, run.throughput.step_split
    assert split.compute_s + split.communication_s + split.wait_s == pytest.approx(two.step_s)
    assert split.compute_s == pytest.approx(1.5 * before.compute_s)


def test_the_slowest_process_is_that_of_most_runs_and_a_run_without_parts_hides_them():
    records = make_sweep(processes=(1, 2), batches=(64,))
    split = records[5].throughput.step_split

    def with_split(value):
        throughput = records[5].throughput.model_copy(update={"step_split": value})
        return [
            *records[:5],
            records[5].model_copy(update={"throughput": throughput}),
            *records[6:],
        ]

    other = with_split(split.model_copy(update={"slowest_process": 0}))
    assert topologies_of(other)[1].split.slowest_process == 1
    assert topologies_of(with_split(None))[1].split is None


def again(run, run_id, created_at, **changes):
    return run.model_copy(update={"run_id": run_id, "created_at": created_at} | changes)


def test_repeats_of_a_seed_are_samples_of_a_speed_and_one_run_to_the_target():
    old = make_run(2, 64, 0)
    newer = again(old, "newer", "2026-02-01T00:00:00+00:00")
    crowded = old.environment | {"measured_alone": False}
    beside = again(old, "beside", "2026-03-01T00:00:00+00:00", environment=crowded)
    failed = again(old, "failed", "2026-04-01T00:00:00+00:00", status="failed")
    records = [make_run(1, 64, 0), newer, failed, old, beside]
    (_, two) = topologies_of(records)
    assert [run.run_id for run in two.runs] == [old.run_id, "newer", "beside", "failed"]
    assert [run.run_id for run in two.timed] == [old.run_id, "newer"]
    assert [run.run_id for run in two.per_seed] == [run.run_id for run in two.alone] == ["newer"]
    assert len(topologies_of([*records, newer.model_copy()])[1].runs) == 4  # a copy is no repeat


def test_other_configurations_are_named_by_what_differs():
    records = [*make_sweep(), *make_sweep(config={"lr": 0.5})]
    assert list(group_by_configuration(records)) == [
        "simple-cnn on mnist, lr 0.01",
        "simple-cnn on mnist, lr 0.5",
    ]


def test_a_configuration_without_one_process_is_left_out_where_another_has_it():
    records = [*make_sweep(), *make_sweep(processes=(2,), config={"lr": 0.5})]
    assert list(group_by_configuration(records)) == ["simple-cnn on mnist, lr 0.01"]


def test_commits_of_a_configuration_may_differ():
    records = make_sweep(processes=(1,), environment={"git_commit": "a" * 40})
    records += make_sweep(processes=(2,), environment={"git_commit": "b" * 40, "git_dirty": True})
    assert len(topologies_of(records)) == 4


@pytest.mark.parametrize(
    ("records", "says"),
    [
        (
            lambda: make_sweep(processes=(1,)),
            "scaling: all runs are of 1 process; sweep each",
        ),
        (lambda: make_sweep(processes=(4,)), "all runs are of 4 processes; sweep"),
        (
            lambda: make_sweep(processes=(2, 4)),
            "all runs are of 2, 4 processes, and no configuration has 1 and more: simple-cnn",
        ),
        (
            lambda: [
                *make_sweep(processes=(1,)),
                *make_sweep(processes=(2,), config={"lr": 0.5}),
            ],
            "has 1 and more: simple-cnn on mnist, lr 0.01; simple-cnn on mnist, lr 0.5",
        ),
        (
            lambda: [
                run
                for lr in range(50)
                for run in make_sweep(processes=(1 + lr % 2,), config={"lr": lr})
            ],
            "…; sweep each of them",
        ),
        (
            lambda: [r.model_copy(update={"dataset": None}) for r in make_sweep()],
            "no run got as far as training",
        ),
    ],
)
def test_what_cannot_be_compared_is_one_line(records, says):
    with pytest.raises(InputError) as error:
        group_by_configuration(records())
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_the_target_is_the_one_asked_for_else_that_of_the_runs():
    records = make_sweep()
    assert common_target(topologies_of(records), 0.9) == 0.9
    assert common_target(topologies_of(records), None) == 0.97
    told = {"result": Result(), "config": records[0].config | {"target_accuracy": None}}
    none = [r.model_copy(update=told) for r in records]
    with pytest.raises(InputError, match=r"no target; give one, such as --target-accuracy 0\.97"):
        common_target(topologies_of(none), None)
    none[0] = none[0].model_copy(update={"result": Result(target_accuracy=0.9)})
    with pytest.raises(InputError, match=r"targets 90 %, 97 %; give one"):
        common_target(topologies_of([*none[:1], *records[1:]]), None)
