"""Time to accuracy from stored curves, one run's and a group's."""

import math

import pytest

from mnistbench.analysis.scoring import end_s, reading_to_target, time_to_accuracy
from mnistbench.analysis.target_score import score_target
from mnistbench.stats.readings import Reading
from mnistbench.stats.survival import kaplan_meier_median


@pytest.mark.parametrize(
    ("target", "expected"),
    [(0.5, (2.0, 10)), (0.90, (2.0, 10)), (0.9001, (4.0, 20)), (0.98, (6.0, 30)), (0.981, None)],
)
def test_it_is_the_first_point_at_or_over_the_target(make_record, target, expected):
    assert time_to_accuracy(make_record().eval_points, target, split="test") == expected


def test_a_later_fall_changes_nothing_and_other_splits_do_not_count(make_record):
    points = make_record(accuracies=(0.99, 0.5)).eval_points
    assert time_to_accuracy(points, 0.98, split="test") == (2.0, 10)
    assert time_to_accuracy(points, 0.98, split="val") is None


def test_a_run_that_never_got_there_is_censored_at_its_end(make_record):
    phases = make_record().phases_s
    group = [
        make_record(0),
        make_record(1, (0.9, 0.95, 0.96)),
        make_record(2, (0.9,), status="diverged", phases_s=phases | {"train": 2.5}),
        make_record(3, eval_points=[], status="failed", phases_s={}),
    ]
    assert [reading_to_target(record, 0.97) for record in group] == [
        Reading(4.0, 6.0),
        Reading(6.1, math.inf),
        Reading(math.inf, math.inf),
        Reading(0.0, math.inf),
    ]
    assert [end_s(record) for record in group] == [6.0, 6.1, 2.5, 0.0]


def test_any_target_can_be_scored_from_one_curve(make_record):
    group = [make_record(seed) for seed in range(7)]  # a tenth of a second slower each
    for target, median_s, steps in ((0.9, 2.3, 10), (0.95, 4.3, 20), (0.98, 6.3, 30)):
        score = score_target(group, target)
        assert score.time_s.median == pytest.approx(median_s)
        assert score.steps.median == steps
        assert (score.time_s.reached, score.time_s.n) == (7, 7)
        assert score.time_s.low < median_s < score.time_s.high
        assert score.expected_s.time == pytest.approx(median_s)
    missed = score_target(group, 0.99)
    assert (missed.time_s.median, missed.time_s.reached, missed.time_s.n) == (None, 0, 7)
    assert missed.expected_s.time is None


def test_the_expected_time_charges_failures_with_what_they_took(make_record):
    group = [make_record(0), make_record(0, (0.9, 0.95)), make_record(0, (0.9, 0.95, 0.96))]
    # 6.0 s by the one that got there; 6.0 s (the train phase) by each of the others
    assert score_target(group, 0.97).expected_s.time == 18.0


def test_a_diverged_run_is_slower_than_any_however_early_it_broke_off(make_record):
    phases = make_record().phases_s | {"train": 0.5}
    early = {"status": "diverged", "phases_s": phases, "eval_points": [], "num_steps": 3}
    group = [make_record(0), make_record(2), make_record(4), make_record(1, **early)]
    group += [make_record(3, **early)]
    # times 6.0, 6.2, 6.4 and two that are never: the middle one of five is the third
    assert score_target(group, 0.97).time_s.median == pytest.approx(6.4)
    assert score_target(group, 0.97).steps.median == 30
    at_their_ends = kaplan_meier_median([6.0, 6.2, 6.4, 0.5, 0.5], [True] * 3 + [False] * 2)
    assert at_their_ends.median == pytest.approx(6.2)  # as if they had never been
    interrupted = [record.model_copy(update={"status": "interrupted"}) for record in group[3:]]
    assert score_target([*group[:3], *interrupted], 0.97).time_s.median == pytest.approx(6.2)


def test_one_run_has_its_time_and_no_interval(make_record):
    assert score_target([make_record()], 0.97).time_s == (6.0, None, None, 1, 1)
    assert score_target([make_record()], 0.99).time_s == (None, None, None, 0, 1)
