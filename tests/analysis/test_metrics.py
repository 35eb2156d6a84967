"""The one table of metrics: what is a sample of each, its estimator and its spread."""

import pytest

from mnistbench.analysis.metrics import METRICS, SHARED_PHASES
from mnistbench.schema.record import PHASES, Result, Throughput
from mnistbench.stats.intervals import mean_interval
from mnistbench.stats.readings import Reading

SPEEDS = ("samples_per_s", "step_s_p50", "step_s_p95")
TIMES = ("train_s", "wall_s", "cold_start_s")
QUALITIES = ("val_accuracy", "test_accuracy", "test_loss")
GOALS = ("time_to_accuracy_s", "steps_to_accuracy")


@pytest.mark.parametrize(
    ("names", "estimator", "independent", "spread"),
    [
        (SPEEDS + TIMES, "mean", "run", "95 % interval"),
        (("train_eval_s",), "median", "run", "95 % interval"),
        (QUALITIES, "median", "seed", "range"),
        (GOALS, "survival median", "seed", "95 % interval"),
    ],
)
def test_each_kind_has_its_estimator_and_its_independent_sample(
    names, estimator, independent, spread
):
    for name in names:
        metric = METRICS[name]
        assert (metric.estimator, metric.independent, metric.spread) == (
            estimator,
            independent,
            spread,
        )


def test_only_times_need_the_machine():
    machine = {"device_name", "cpu_name", "num_processes", "num_threads"}
    for metric in METRICS.values():
        assert machine & set(metric.needs) == (machine if metric.timed else set())


def test_repeats_of_a_seed_are_samples_of_a_speed_and_one_of_an_accuracy(make_record):
    runs = [
        make_record(
            0,
            (0.9, 0.95, 0.97 + day / 1000),
            created_at=f"2026-01-0{day}",
            throughput=Throughput(samples_per_s=1000.0 + day),
        )
        for day in (3, 1, 2)
    ]
    speed = METRICS["samples_per_s"].level(METRICS["samples_per_s"].samples(runs))
    assert speed[:4] == (*mean_interval([1001.0, 1002.0, 1003.0]), 3)
    accuracy = METRICS["test_accuracy"]
    assert accuracy.samples(runs) == (Reading.of(0.973),)  # the newest
    assert accuracy.level(accuracy.samples(runs))[:4] == (0.973, None, None, 1)
    stopped = runs[0].model_copy(update={"status": "interrupted"})
    assert accuracy.samples([stopped, *runs[1:]]) == (Reading.of(0.972),)  # the newest completed


def test_an_accuracy_is_a_median_between_the_smallest_and_the_largest(make_record):
    accuracies = (0.98, 0.979, 0.981, 0.55, 0.98)
    runs = [make_record(seed, (0.9, a)) for seed, a in enumerate(accuracies)]
    level = METRICS["test_accuracy"].level(METRICS["test_accuracy"].samples(runs))
    assert level[:4] == (0.98, 0.55, 0.981, 5)  # an interval of the mean would end at 1.13


def test_a_wall_time_leaves_out_what_the_seeds_of_a_command_share(make_record):
    """Eight seeds of one command are as fast as eight commands of one."""
    start = dict.fromkeys(SHARED_PHASES, 2.0)
    phases = dict.fromkeys(PHASES, 0.0) | {"train": 6.0}
    shared = [make_record(seed, phases_s=phases, wall_s=10.0) for seed in range(1, 4)]
    own = [make_record(seed, phases_s=phases | start, wall_s=16.0) for seed in range(4)]
    wall, cold = METRICS["wall_s"], METRICS["cold_start_s"]
    assert wall.level(wall.samples([own[0], *shared])) == wall.level(wall.samples(own))
    assert cold.samples([own[0], *shared]) == (Reading.of(6.0),)
    assert len(cold.samples(own)) == 4


def test_a_time_to_a_target_counts_whatever_became_of_the_run(make_record):
    runs = [make_record(0), make_record(1, (0.1,), status="diverged")]
    goal, accuracy = METRICS["time_to_accuracy_s"], METRICS["test_accuracy"]
    level = goal.level(goal.samples(runs))
    assert (level.n, level.reached, level.value) == (2, 1, pytest.approx(6.0))
    assert len(accuracy.samples(runs)) == 1
    assert len(accuracy.samples(runs, unfinished=True)) == 2
    without = make_record(target=None, result=Result(), config={"eval_split": "test"})
    assert goal.samples([without]) == ()
    assert goal.level(goal.samples([without], 0.97)).at_most == 6.0
