"""Predictions held to runs that no formula of the model made."""

import math
from statistics import fmean, median

import pytest

from mnistbench.analysis.scaling.study import Choice, study_scaling
from tests.analysis.scaling.event_sweep import event_sweep

pytestmark = pytest.mark.usefixtures("few_resamples")

BATCHES = (64, 128, 256)


@pytest.mark.slow
@pytest.mark.parametrize("draw", range(3))
def test_more_processes_are_predicted_from_one_and_two(draw):
    records = event_sweep((1, 2, 4, 8, 16), BATCHES, draw=draw)
    (report,) = study_scaling(records, Choice(fit_on=(1, 2)))
    assert [c.measured.setup.num_processes for c in report.checks] == [4] * 3 + [8] * 3 + [16] * 3
    for check in report.checks:
        assert abs(check.speed_error) < 0.25
        assert abs(check.step_error) < 0.25
    near = [abs(c.step_error) for c in report.checks if c.measured.setup.num_processes == 4]
    assert max(near) < 0.12


def test_a_slowed_link_is_predicted_from_a_fast_one():
    fast = event_sweep((1, 2), BATCHES)
    slow = event_sweep((2,), BATCHES, slower=30.0)
    (report,) = study_scaling([*fast, *slow], Choice(hold_out_slowest_link=True))
    assert {check.reason for check in report.checks} == {"link"}
    assert len(report.checks) == 3
    for check in report.checks:
        assert abs(check.step_error) < 0.25


@pytest.mark.slow
def test_intervals_cover_what_happens_and_are_of_use():
    covered, widths = [], []
    for draw in range(8):
        records = event_sweep((1, 2, 4), BATCHES, draw=draw)
        (report,) = study_scaling(records, Choice(fit_on=(1, 2)))
        for check in report.checks:
            _, low, high = check.predicted.samples_per_s
            covered.append(low <= check.measured.samples_per_s.mean <= high)
            widths.append(math.log(high / low))
    assert fmean(covered) >= 0.8
    assert median(widths) < 0.5
