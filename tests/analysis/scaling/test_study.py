"""The whole of a study: what is fitted, what is held out, and how near the model comes to it."""

import pytest

from mnistbench.analysis.scaling.study import study_scaling
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Link
from tests.analysis.scaling.made_sweep import LINK, make_sweep

pytestmark = pytest.mark.usefixtures("few_resamples")

SLOW = Link(latency_s=1e-3, bandwidth_bytes_per_s=1e7)
MIDDLE = Link(latency_s=1e-4, bandwidth_bytes_per_s=3e8)


@pytest.fixture(scope="module")
def sweep():
    return make_sweep()


def test_four_processes_on_two_cores_are_predicted_from_one_and_two(sweep):
    (report,) = study_scaling(sweep, fit_on=[1, 2])
    assert {s.num_processes for s in report.predictor.setups} == {1, 2}
    assert [check.measured.setup.num_processes for check in report.checks] == [4, 4]
    for check in report.checks:
        assert abs(check.speed_error) < 0.05
        assert abs(check.step_error) < 0.05
        assert abs(check.time_error) < 0.1
        assert (1 + check.speed_error) * (1 + check.step_error) == pytest.approx(1, rel=0.01)


def test_processes_without_a_core_each_are_predicted_and_not_fitted_unless_asked_for(sweep):
    def fitted(records, **options):
        (report,) = study_scaling(records, **options)
        counts = {setup.num_processes for setup in report.predictor.setups}
        return counts, {check.measured.setup.num_processes for check in report.checks}

    assert fitted(sweep) == ({1, 2}, {4})
    assert fitted(sweep, fit_on=[1, 4]) == ({1, 4}, {2})
    assert fitted(make_sweep(cores=1)) == ({1, 2, 4}, set())
    assert fitted(make_sweep(cores=None)) == ({1, 2, 4}, set())


def test_a_slowed_link_is_predicted_from_the_faster_ones():
    records = make_sweep(processes=(1,))
    for link in (LINK, MIDDLE, SLOW):
        records += make_sweep(processes=(2,), link=link)
    (report,) = study_scaling(records, hold_out_slowest_link=True)
    assert {check.measured.setup.link.latency_s for check in report.checks} == {1e-3}
    assert max(abs(check.step_error) for check in report.checks) < 0.1
    assert len(report.checks) == 2


def test_steps_of_a_batch_that_was_held_out_are_predicted_by_the_other_batches():
    records = [*make_sweep(processes=(1, 2)), *make_sweep(processes=(4,), batches=(1024,))]
    (report,) = study_scaling(records, fit_on=[1, 2])
    (check,) = report.checks
    assert check.predicted.steps == pytest.approx(100 * (1 + 500 / 1024), rel=0.3)
    assert abs(check.time_error) < 0.3


def test_every_batch_of_one_process_is_an_outlook_in_both_ways(sweep):
    (report,) = study_scaling(sweep)
    found = [(outlook.scaling, outlook.base_batch) for outlook in report.outlooks]
    assert found == [("strong", 64), ("weak", 64), ("strong", 256), ("weak", 256)]
    assert {row.setting.link for o in report.outlooks for row in o.rows} == {LINK}
    assert {row.setting.contention for o in report.outlooks for row in o.rows} == {1.0}


def test_a_report_for_each_configuration(sweep):
    reports = study_scaling([*sweep, *make_sweep(config={"lr": 0.5})], target=0.9)
    assert [report.family.name[-8:] for report in reports] == [" lr 0.01", ", lr 0.5"]
    assert {report.target for report in reports} == {0.9}


def test_runs_that_all_shared_their_cores_are_not_modelled():
    (report,) = study_scaling(make_sweep(environment={"measured_alone": False}))
    assert (report.predictor, report.outlooks) == (None, ())
    assert {row.steps.reached for row in report.measured} == {5}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"fit_on": [1, 3]}, "fit_on: no run is of 3 processes; there are 1, 2, 4"),
        ({"fit_on": [1, 2, 4]}, "fit_on: names all process counts; leave out the one to predict"),
        ({"hold_out_slowest_link": True}, "hold_out_slowest_link: all runs were over one link"),
    ],
)
def test_a_choice_that_leaves_nothing_is_one_line(sweep, options, says):
    with pytest.raises(InputError) as error:
        study_scaling(sweep, **options)
    assert says in str(error.value)
