"""Time to accuracy from stored curves, one run's and a group's."""

import math

import pytest

from mnistbench.analysis.metrics import score_target
from mnistbench.analysis.scoring import (
    end_s,
    fell_again,
    reading_to_target,
    target_of,
)
from mnistbench.schema.record import Result, Target
from mnistbench.schema.target import point_at_target
from mnistbench.stats.readings import Reading
from mnistbench.stats.survival import kaplan_meier_median


def _on(split, accuracy):
    return Target(metric="accuracy", value=accuracy, split=split)


@pytest.mark.parametrize(
    ("target", "expected"),
    [(0.5, (2.0, 10)), (0.90, (2.0, 10)), (0.9001, (4.0, 20)), (0.98, (6.0, 30)), (0.981, None)],
)
def test_it_is_the_first_point_at_or_over_the_target(make_record, target, expected):
    point = point_at_target(make_record().eval_points, _on("test", target))
    assert (point and (point.train_s, point.step)) == expected


def test_a_later_fall_changes_nothing_and_other_splits_do_not_count(make_record):
    points = make_record(accuracies=(0.99, 0.5)).eval_points
    assert point_at_target(points, _on("test", 0.98)) is points[0]
    assert point_at_target(points, _on("val", 0.98)) is None


@pytest.mark.parametrize(
    ("own", "steps", "expected"),
    [
        (Result(target_accuracy=0.97, time_to_accuracy_s=4.5, steps_to_accuracy=9), False, 4.5),
        (Result(target_accuracy=0.97, time_to_accuracy_s=4.5, steps_to_accuracy=9), True, 9.0),
        (Result(target_accuracy=0.98, time_to_accuracy_s=4.5), False, 4.5),
        (Result(target_accuracy=0.96, time_to_accuracy_s=4.5), False, None),  # who knows
        (Result(target_accuracy=0.97), False, None),
    ],
)
def test_without_evaluations_a_record_is_believed(make_record, own, steps, expected):
    record = make_record(eval_points=[], result=own)
    reading = reading_to_target(record, target_of(record, 0.97), steps=steps)
    assert (reading.high if reading.reached else None) == expected
    assert reading.low == (6.0 if expected is None else 0.0)


def test_a_run_that_never_got_there_is_censored_at_its_end(make_record):
    phases = make_record().phases_s
    group = [
        make_record(0),
        make_record(1, (0.9, 0.95, 0.96)),
        make_record(2, (0.9,), status="diverged", phases_s=phases | {"train": 2.5}),
        make_record(3, eval_points=[], status="failed", phases_s={}),
    ]
    assert [reading_to_target(record, target_of(record, 0.97)) for record in group] == [
        Reading(4.0, 6.0),
        Reading(6.1, math.inf),
        Reading(math.inf, math.inf),
        Reading(0.0, math.inf),
    ]
    assert [end_s(record) for record in group] == [6.0, 6.1, 2.5, 0.0]


def test_any_target_can_be_scored_from_one_curve(make_record):
    group = [make_record(seed) for seed in range(7)]  # a tenth of a second slower each
    # each lies between two evaluations: after the last of these that any run missed at
    for target, missed_s, last_miss, first_hit in (
        (0.9, 0, 0, 2),
        (0.95, 2.3, 2.6, 4),
        (0.98, 4.3, 4.6, 6),
    ):
        score = score_target(group, target)
        time = score.time_s
        assert time.value == pytest.approx((last_miss + first_hit) / 2)
        assert (time.above, time.at_most) == pytest.approx((missed_s, first_hit + 0.3))
        assert score.steps.value == 5 * first_hit - 5
        assert (time.reached, time.n) == (7, 7)
        assert time.low <= time.value < time.high
        assert score.expected_s.value == pytest.approx(first_hit + 0.3)
    missed = score_target(group, 0.99)
    assert (missed.time_s.value, missed.time_s.reached, missed.time_s.n) == (None, 0, 7)
    assert missed.expected_s.value is None


def test_the_expected_time_charges_failures_with_what_they_took(make_record):
    group = [make_record(0), make_record(1, (0.9, 0.95)), make_record(2, (0.9, 0.95, 0.96))]
    # 6.0 s by the one that got there; 6.0 s (the train phase) and 6.2 s by the others
    assert score_target(group, 0.97).expected_s.value == pytest.approx(18.2)


def test_a_diverged_run_is_slower_than_any_however_early_it_broke_off(make_record):
    phases = make_record().phases_s | {"train": 0.5}
    early = {"status": "diverged", "phases_s": phases, "eval_points": [], "num_steps": 3}
    group = [make_record(0), make_record(2), make_record(4), make_record(1, **early)]
    group += [make_record(3, **early)]
    # at most 6.0, 6.2, 6.4 and two that are never: the middle one of five is the third
    assert score_target(group, 0.97).time_s.at_most == pytest.approx(6.4)
    assert score_target(group, 0.97).steps.at_most == 30
    at_their_ends = kaplan_meier_median([6.0, 6.2, 6.4, 0.5, 0.5], [True] * 3 + [False] * 2)
    assert at_their_ends.value == pytest.approx(6.2)  # as if they had never been
    interrupted = [record.model_copy(update={"status": "interrupted"}) for record in group[3:]]
    assert score_target([*group[:3], *interrupted], 0.97).time_s.at_most == pytest.approx(6.2)


def test_one_run_has_the_evaluations_it_got_there_between_and_no_interval(make_record):
    assert score_target([make_record()], 0.97).time_s == (5.0, None, None, 1, 1, 4.0, 6.0)
    assert score_target([make_record()], 0.99).time_s == (None, None, None, 1, 0, None, None)


@pytest.mark.parametrize(
    ("accuracies", "expected", "fell"),
    [
        ((0.9, 0.97, 0.98), (2.0, 4.0), False),
        ((0.97, 0.98), (0.0, 2.0), False),  # there before it was first evaluated
        ((0.9, 0.97, 0.9, 0.97, 0.97), (2.0, 8.0), True),  # one of many evaluations is lucky
        ((0.9, 0.97, 0.9, 0.97), (2.0, 8.0), True),  # there at its end
        ((0.9, 0.97, 0.9, 0.9), (2.0, 4.0), True),  # no other is better known
        ((0.9, 0.95, 0.97), (4.0, 6.0), False),
    ],
)
def test_the_first_at_the_target_counts_that_the_next_confirms(
    make_record, accuracies, expected, fell
):
    record = make_record(0, accuracies)
    assert reading_to_target(record, target_of(record, 0.97))[:2] == expected
    steps = tuple(5 * end for end in expected)
    assert reading_to_target(record, target_of(record, 0.97), steps=True)[:2] == steps
    assert fell_again(record, 0.97) == fell
