"""Which steps are evaluated: every so many, each epoch's end, or more often up to a target."""

from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.engine.evaluation_schedule import SPACING, EvaluationSchedule, describe_schedule
from mnistbench.engine.fast_step import FastStep
from mnistbench.engine.run_seeds import train
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import EvalPoint
from mnistbench.schema.store import find_records, load_record
from tests.engine.interrupted import LATEST, bits, interrupt

# 63 steps in an epoch; the target is reached in the second
SLOW = {
    "model": "linear",
    "synthetic_train_size": 2600,
    "val_size": 600,
    "global_batch_size": 32,
    "num_epochs": 3,
    "lr": 0.002,
    "target_accuracy": 0.8,
}
SIZES = {"steps_per_epoch": 63, "num_steps": 150}


def point(step, accuracy, *, split="val"):
    return EvalPoint(
        step=step, epoch=0, samples_seen=0, train_s=0, split=split, loss=1, accuracy=accuracy
    )


def walk(schedule, accuracies):
    """All evaluations of a run whose accuracies come in this order, then stay at the last."""
    points, step = [], 0
    while step < schedule.num_steps:
        step = schedule.next_step(points)
        assert schedule.is_due(step, points)
        assert not schedule.is_due(step - 1, points)
        points.append(point(step, accuracies[min(len(points), len(accuracies) - 1)]))
        assert not schedule.is_due(step, points)
    return points


def steps_of(record):
    return [p.step for p in record.eval_points if p.split == record.config["eval_split"]]


@given(
    accuracies=st.lists(st.floats(0, 1), min_size=1, max_size=200),
    target=st.floats(0.01, 1),
    steps_per_epoch=st.integers(1, 900),
    num_steps=st.integers(1, 3000),
)
def test_up_to_the_target_evaluations_are_at_most_a_twentieth_of_the_steps_apart(
    accuracies, target, steps_per_epoch, num_steps
):
    schedule = EvaluationSchedule(
        config=RunConfig(target_accuracy=target),
        steps_per_epoch=steps_per_epoch,
        num_steps=num_steps,
    )
    points = walk(schedule, accuracies)
    steps = [p.step for p in points]
    assert steps == sorted(set(steps))
    ends = {*range(steps_per_epoch, num_steps + 1, steps_per_epoch), num_steps}
    assert ends <= set(steps)
    there = [p.accuracy >= target for p in points]
    twice = (i + 1 for i, both in enumerate(pairwise(there)) if all(both))
    hit = next(twice, len(points) - 1)  # the reading that confirms it
    assert set(steps[hit + 1 :]) <= ends
    for before, after in pairwise(points[: hit + 1]):
        near = 1 - before.accuracy <= max(2 * (1 - target), 0.01)
        share = 0.05 if near else 0.2
        assert after.step - before.step <= max(1, share * after.step)


def test_far_from_the_target_evaluations_are_few():
    far = EvaluationSchedule(config=RunConfig(target_accuracy=0.97), **SIZES)
    assert [p.step for p in walk(far, [0.5])] == [20, 25, 31, 38, 47, 58, 63, 78, 97, 121, 126, 150]
    near = [p.step for p in walk(far, [0.5, 0.5, 0.95, 0.97])]
    assert near == [20, 25, 31, 32, 33, 63, 126, 150]


def test_a_target_of_1_is_near_from_99_percent_on():
    schedule = EvaluationSchedule(
        config=RunConfig(target_accuracy=1), steps_per_epoch=1000, num_steps=1000
    )
    assert schedule.next_step([point(100, 0.98)]) == 125
    assert schedule.next_step([point(100, 0.991)]) == 105


@pytest.mark.parametrize(
    ("values", "name", "steps"),
    [
        ({}, "epoch", [63, 126, 150]),
        ({"target_accuracy": 0.97, "recipe": "simple-cnn"}, "epoch", [63, 126, 150]),
        ({"target_accuracy": 0.97, "eval_every_steps": 40}, "steps", [40, 80, 120, 150]),
        ({"eval_every_steps": 2**31 - 1}, "steps", [150]),
    ],
)
def test_without_a_target_of_its_own_nothing_is_added(values, name, steps):
    config = RunConfig(**values)
    assert describe_schedule(config) == {"eval_schedule": name, "eval_spacing": None}
    schedule = EvaluationSchedule(config=config, **SIZES)
    assert [p.step for p in walk(schedule, [0.9])] == steps


def test_readings_of_another_split_do_not_steer():
    schedule = EvaluationSchedule(config=RunConfig(target_accuracy=0.9), **SIZES)
    assert schedule.next_step([point(100, 0.85), point(100, 1.0, split="test")]) == 105
    assert schedule.is_due(300, [point(100, 0.85)])  # overdue: a checkpoint of an older version


def test_a_run_knows_its_time_to_the_target_to_a_twentieth(small_config):
    (record,) = train(small_config(**SLOW))
    hit, steps = record.result.steps_to_accuracy, steps_of(record)
    assert hit > 63
    assert hit - max(step for step in steps if step < hit) <= max(1, SPACING * hit)
    confirmed, *rest = [step for step in steps if step > hit]
    assert confirmed - hit <= max(1, SPACING * confirmed)
    assert rest == [126, 189]
    assert record.environment["eval_schedule"] == "target"
    assert record.environment["eval_spacing"] == SPACING


def test_a_run_stops_at_its_target_between_epochs(small_config):
    (record,) = train(small_config(**SLOW, stop_at_target=True))
    assert record.num_steps == record.result.steps_to_accuracy == steps_of(record)[-1]
    assert record.num_steps % 63


def test_a_recipe_is_evaluated_as_its_source_did(small_config):
    (record,) = train(small_config(**SLOW | {"target_accuracy": 0.9}, recipe="dnn5-ce"))
    assert steps_of(record) == [63, 126, 189]
    assert record.environment["eval_schedule"] == "epoch"
    assert record.environment["eval_spacing"] is None


def test_a_run_that_failed_says_how_it_was_evaluated(small_config, tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise RuntimeError("no more")

    monkeypatch.setattr("mnistbench.engine.run_seeds.build_parts", fail)
    with pytest.raises(RuntimeError, match="no more"):
        train(small_config(target_accuracy=0.9))
    (path,) = find_records([tmp_path / "runs"])
    assert load_record(path).environment["eval_schedule"] == "target"


def test_an_interrupted_run_is_evaluated_as_if_it_had_not_been(
    small_config, tmp_path, monkeypatch, one_thread
):
    values = SLOW | {"checkpoint_every_steps": 10}
    (whole,) = train(small_config(**values, output_dir=str(tmp_path / "whole")))
    for step in (20, 60, 70, 104):  # an evaluation's, between, and before that at the target
        interrupt(monkeypatch, small_config(**values | LATEST), at_step=step)
    (resumed,) = train(small_config(**values | LATEST))
    assert len(resumed.interruptions) == 4
    assert bits(resumed) == bits(whole)


def test_steps_that_are_made_as_one_are_cut_short_where_one_is_evaluated(small_config, one_thread):
    (plain,) = train(small_config(**SLOW))
    with patch.object(FastStep, "steps_per_call", 7):
        (grouped,) = train(small_config(**SLOW))
    assert bits(grouped) == bits(plain)
