"""Which runs are one setup, which setups one family, and what cannot be compared."""

import pytest

from mnistbench.analysis.scaling.families import families_of
from mnistbench.analysis.scaling.setups import target_of
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Canary, CanaryReading, Link, Result
from tests.made_sweep import LINK, make_run, make_sweep


def setups_of(records):
    (family,) = families_of(records)
    return family.setups


def test_runs_are_told_apart_by_processes_threads_and_batch():
    records = [*make_sweep(), *make_sweep(processes=(1,), threads=2)]
    setups = setups_of(records[::-1])
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
    by_count = {s.num_processes: s for s in setups_of(make_sweep(batches=(64,)))}
    assert [by_count[n].setting.contention for n in (1, 2, 4)] == [1, 1, 2]
    assert [by_count[n].num_workers for n in (1, 2, 4)] == [1, 2, 4]
    on_gpus = setups_of(make_sweep(batches=(64,), cores=None, threads=lambda n: 16 // n))
    assert {(s.setting.contention, s.num_threads) for s in on_gpus} == {(1, 1)}
    assert [s.num_workers for s in on_gpus] == [1, 2, 4]
    on_two_machines = make_sweep(batches=(64,), environment={"num_machines": 2})
    assert {s.setting.contention for s in setups_of(on_two_machines)} == {1}


def test_an_environment_that_says_nothing_sensible_counts_as_one():
    odd = {"num_threads": "many", "num_machines": None, "num_usable_cores": -1}
    setups = setups_of(make_sweep(batches=(64,), environment=odd))
    assert {(s.num_threads, s.num_machines, s.num_cores) for s in setups} == {(1, 1, None)}


def test_a_batch_given_for_each_device_is_the_global_batch_it_came_to():
    per_device = {"global_batch_size": None, "per_device_batch_size": 32}
    records = [*make_sweep(processes=(1,)), *make_sweep(processes=(2,), config=per_device)]
    assert len(setups_of(records)) == 4


def test_with_a_learning_rate_that_follows_the_processes_batches_per_device_stay_apart():
    def weak(size):
        config = {"per_device_batch_size": size, "lr_scaling": "linear", "global_batch_size": None}
        return [run for n in (1, 2) for run in make_sweep((n,), (size * n,), config=config)]

    assert len(families_of([*weak(32), *weak(64)])) == 2


def slower(factor):
    return Link(latency_s=5e-5 * factor, bandwidth_bytes_per_s=2e9 / factor)


def ranks_of(records, **options):
    (family,) = families_of(records, **options)
    return [(s.link, s.link_rank) for s in family.setups]


def test_links_are_one_until_a_gap_tells_them_apart():
    alone = make_sweep(processes=(1,), batches=(64,))
    noisy = [make_run(2, 64, seed, link=slower(x)) for seed, x in enumerate((1, 2, 4))]
    assert ranks_of([*alone, *noisy]) == [(None, 0), (slower(2), 0)]
    cables = [make_run(2, 64, seed, link=slower(x)) for x in (1, 5, 30) for seed in range(3)]
    assert [rank for _, rank in ranks_of([*alone, *cables])] == [0, 0, 1, 2]
    slow = [make_run(2, 64, seed, link=slower(40)) for seed in range(3)]
    assert ranks_of([*alone, *noisy, *slow]) == [(None, 0), (slower(2), 0), (slower(40), 1)]


def test_a_narrower_gap_tells_links_apart_where_there_are_several_for_sure():
    records = make_sweep(processes=(1,), batches=(64,))
    records += [make_run(2, 64, seed, link=slower(x)) for seed, x in enumerate((1, 1.5, 2, 5, 6))]
    assert ranks_of(records)[1:] == [(slower(2), 0)]
    found = ranks_of([*records, make_run(2, 64, 9, link=slower(7))], several_links=True)[1:]
    assert found == [(slower(1.5), 0), (slower(6), 1)]


def test_a_link_is_one_over_all_batches_of_as_many_processes():
    records = make_sweep(processes=(1,))
    records += [make_run(2, 64, seed, link=slower(1)) for seed in range(2)]
    records += [make_run(2, 256, seed, link=slower(3)) for seed in range(3)]
    assert ranks_of(records)[2:] == 2 * [(slower(3), 0)]


def test_a_link_measured_while_processes_share_a_core_is_none():
    records = make_sweep(batches=(64,))
    records += [make_run(4, 64, seed, link=slower(100)) for seed in range(5, 8)]
    assert ranks_of(records) == [(None, 0), (LINK, 0), (None, 0)]


@pytest.mark.parametrize(
    "spoiled", [{"status": "interrupted"}, {"environment": {"measured_alone": False}}]
)
def test_spoiled_runs_tell_no_link(spoiled):
    records = make_sweep(processes=(1, 2), batches=(64,))
    records += [make_run(2, 64, seed, link=slower(50), **spoiled) for seed in range(5, 7)]
    assert [(len(s.runs), s.link) for s in setups_of(records)] == [(5, None), (7, LINK)]


def test_a_run_that_did_not_learn_its_link_joins_the_only_one_or_is_replaced():
    records = make_sweep(processes=(1, 2), batches=(64,))
    lost = {"link": None, "status": "failed"}
    records += [make_run(2, 64, seed).model_copy(update=lost) for seed in (0, 9)]
    assert [(len(s.runs), s.link) for s in setups_of(records)] == [(5, None), (6, LINK)]
    records += [make_run(2, 64, seed, link=slower(40)) for seed in range(5)]
    found = [(len(s.runs), s.link) for s in setups_of(records)[1:]]
    assert found == [(6, LINK), (5, slower(40))]


def test_parts_of_a_step_come_to_its_mean():
    (run,) = make_sweep(processes=(2,), batches=(64,), seeds=[0])
    slow = run.throughput.model_copy(update={"samples_per_s": run.throughput.samples_per_s / 1.5})
    records = [make_run(1, 64, 0), run.model_copy(update={"throughput": slow})]
    (_, two) = setups_of(records)
    (split,), (time,) = two.splits, two.step_times
    before = run.throughput.step_split
    assert split.compute_s + split.communication_s + split.wait_s == pytest.approx(time.step_s)
    assert split.compute_s == pytest.approx(1.5 * before.compute_s)
    assert (time.communication_s, time.wait_s) == (split.communication_s, split.wait_s)


def test_most_unstable_runs_make_a_setup_unstable():
    slow = CanaryReading(matmul_flops_per_s=1.0, copy_bytes_per_s=1.0)
    fast = CanaryReading(matmul_flops_per_s=2.0, copy_bytes_per_s=1.0)
    moved = Canary(before=slow, after=fast)
    records = make_sweep(processes=(1, 2), batches=(64,), seeds=range(4))
    for index in (0, 1, 4, 5, 6):
        records[index] = records[index].model_copy(update={"canary": moved})
    assert [s.mostly_unstable for s in setups_of(records)] == [False, True]


def test_a_seed_counts_once_by_its_newest_run_that_ended_and_was_alone():
    old = make_run(2, 64, 0)
    newer = old.model_copy(update={"run_id": "newer", "created_at": "2026-02-01T00:00:00+00:00"})
    beside = newer.model_copy(
        update={
            "run_id": "beside",
            "created_at": "2026-03-01T00:00:00+00:00",
            "environment": newer.environment | {"measured_alone": False},
        }
    )
    failed = newer.model_copy(
        update={"status": "failed", "created_at": "2026-04-01T00:00:00+00:00"}
    )
    (_, two) = setups_of([make_run(1, 64, 0), newer, failed, old, beside])
    assert [run.run_id for run in two.runs] == ["newer"]


def test_other_configurations_are_families_of_their_own_named_by_what_differs():
    records = [*make_sweep(), *make_sweep(config={"lr": 0.5})]
    first, second = families_of(records)
    assert first.name == "simple-cnn on mnist, lr 0.01"
    assert second.name == "simple-cnn on mnist, lr 0.5"


def test_a_family_without_one_process_is_left_out_where_another_has_it():
    records = [*make_sweep(), *make_sweep(processes=(2,), config={"lr": 0.5})]
    (family,) = families_of(records)
    assert "lr 0.01" in family.name


@pytest.mark.parametrize(
    ("records", "says"),
    [
        (lambda: make_sweep(processes=(1,)), "all runs are of 1 process; sweep with --processes"),
        (lambda: make_sweep(processes=(4,)), "all runs are of 4 processes"),
        (lambda: make_sweep(processes=(2, 4)), "no run of one process to compare with"),
        (
            lambda: [
                *make_sweep(processes=(1,)),
                *make_sweep(processes=(2,), config={"lr": 0.5}),
            ],
            "none of 2 configurations (simple-cnn on mnist, lr 0.01; simple-cnn on mnist, lr 0.5)",
        ),
        (
            lambda: [r.model_copy(update={"dataset": None}) for r in make_sweep()],
            "no run got as far as training",
        ),
    ],
)
def test_what_cannot_be_compared_is_one_line(records, says):
    with pytest.raises(InputError) as error:
        families_of(records())
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_the_target_is_the_one_asked_for_else_that_of_the_runs():
    records = make_sweep()
    (family,) = families_of(records)
    assert target_of(family, 0.9) == 0.9
    assert target_of(family, None) == 0.97
    none = [r.model_copy(update={"result": Result()}) for r in records]
    with pytest.raises(InputError, match=r"no target; give one, such as --target-accuracy 0\.97"):
        target_of(families_of(none)[0], None)
    none[0] = none[0].model_copy(update={"result": Result(target_accuracy=0.9)})
    mixed = [*none[:1], *records[1:]]
    with pytest.raises(InputError, match=r"targets 0\.9, 0\.97; give one"):
        target_of(families_of(mixed)[0], None)
