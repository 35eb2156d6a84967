"""Time to accuracy from a stored curve."""

import pytest

from mnistbench.analysis.scoring import time_to_accuracy


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
