"""Figures of the suites."""

from dataclasses import replace

import pytest

from bench.loss_runs import SETTINGS, learning_rate
from bench.suite_format import mean_error
from tests.made_records import make_record


def test_the_area_under_the_error_does_not_depend_on_how_often_it_was_read():
    (few,) = [make_record(0, (0.8, 0.9, 0.9)).eval_points]
    assert mean_error(few) == pytest.approx((0.15 + 0.1) / 2)
    between = [replace(few[0], epoch=1 + k / 10, accuracy=0.8 + k / 100) for k in range(1, 10)]
    assert mean_error([few[0], *between, *few[1:]]) == pytest.approx(mean_error(few))
    assert mean_error(few[:1]) == pytest.approx(0.2)


@pytest.mark.parametrize("model", SETTINGS)
def test_the_rates_are_those_of_the_settings(model):
    assert learning_rate(model, "mse") > 0
