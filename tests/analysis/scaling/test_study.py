"""The whole of a study: what is fitted, what is held out, and how near the model comes to it."""

import pytest

from mnistbench.analysis.scaling.study import Choice, study_scaling
from mnistbench.output.scaling_notes import scaling_notes
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Canary, CanaryReading, Link
from tests.made_records import profiled
from tests.made_sweep import LINK, make_sweep

pytestmark = pytest.mark.usefixtures("few_resamples")

SLOW = Link(latency_s=1e-3, bandwidth_bytes_per_s=1e7)
MIDDLE = Link(latency_s=1e-4, bandwidth_bytes_per_s=3e8)


@pytest.fixture(scope="module")
def sweep():
    return make_sweep()


def test_four_processes_on_two_cores_are_predicted_from_one_and_two(sweep):
    (report,) = study_scaling(sweep, Choice(fit_on=(1, 2)))
    assert {s.num_processes for s in report.predictor.setups} == {1, 2}
    assert [check.measured.setup.num_processes for check in report.checks] == [4, 4]
    for check in report.checks:
        assert abs(check.speed_error) < 0.05
        assert abs(check.step_error) < 0.05
        assert abs(check.time_error) < 0.1
        assert (1 + check.speed_error) * (1 + check.step_error) == pytest.approx(1, rel=0.01)


def test_processes_without_a_core_each_are_predicted_and_not_fitted_unless_asked_for(sweep):
    def fitted(records, **options):
        (report,) = study_scaling(records, Choice(**options))
        counts = {setup.num_processes for setup in report.predictor.setups}
        return counts, {check.measured.setup.num_processes for check in report.checks}

    assert fitted(sweep) == ({1, 2}, {4})
    assert fitted(sweep, fit_on=(1, 4)) == ({1, 4}, {2})
    assert fitted(make_sweep(cores=1)) == ({1, 2, 4}, set())
    assert fitted(make_sweep(cores=None)) == ({1, 2, 4}, set())


def test_a_slowed_link_is_predicted_from_the_faster_ones():
    records = make_sweep(processes=(1,))
    for link in (LINK, MIDDLE, SLOW):
        records += make_sweep(processes=(2,), link=link)
    (report,) = study_scaling(records, Choice(hold_out_slowest_link=True))
    assert {check.measured.setup.link.latency_s for check in report.checks} == {1e-3}
    assert max(abs(check.step_error) for check in report.checks) < 0.1
    assert len(report.checks) == 2


def test_steps_of_a_batch_that_was_held_out_are_predicted_by_the_other_batches():
    records = [*make_sweep(processes=(1, 2)), *make_sweep(processes=(4,), batches=(1024,))]
    (report,) = study_scaling(records, Choice(fit_on=(1, 2)))
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


def test_held_out_processes_are_predicted_over_the_fitted_link_and_not_their_own():
    found = Link(latency_s=1.5e-4, bandwidth_bytes_per_s=7e8)
    records = make_sweep(processes=(1, 2), cores=64)
    same = [*records, *make_sweep(processes=(4,), cores=64)]
    other = [run.model_copy(update={"link": found}) if run.link else run for run in same[20:]]
    predicted = [
        [check.predicted.parts for check in study_scaling(runs, Choice(fit_on=(1, 2)))[0].checks]
        for runs in (same, [*records, *other])
    ]
    assert predicted[0] == predicted[1]


def test_processes_that_share_cores_are_fitted_over_the_link_that_others_found():
    (report,) = study_scaling(make_sweep(processes=(1, 2, 4, 8)), Choice(fit_on=(1, 2, 4)))
    assert {s.link for s in report.predictor.setups if s.num_processes > 1} == {LINK}
    assert max(abs(check.step_error) for check in report.checks) < 0.1


def test_a_slow_link_is_held_out_for_all_processes_that_used_it():
    records = make_sweep(processes=(1,), cores=64)
    records += [r for link in (LINK, SLOW) for r in make_sweep(processes=(2,), link=link, cores=64)]
    records += make_sweep(processes=(4,), link=SLOW, cores=64)
    (report,) = study_scaling(records, Choice(hold_out_slowest_link=True))
    assert [check.measured.setup.num_processes for check in report.checks] == [2, 2, 4, 4]
    assert {check.reason for check in report.checks} == {"link"}
    assert max(abs(check.step_error) for check in report.checks) < 0.1


def test_threads_of_the_most_processes_are_modelled_and_others_left_out():
    records = [*make_sweep(), *make_sweep(processes=(1,), threads=2)]
    (report,) = study_scaling(records)
    assert {s.num_threads for s in report.predictor.setups} == {1}
    assert [s.shape for s in report.left_out] == ["1 × 2", "1 × 2"]


def test_one_process_of_more_threads_still_starts_an_outlook():
    (report,) = study_scaling(make_sweep(processes=(1, 2), threads=lambda n: 2 // n))
    assert {s.shape for s in report.predictor.setups} == {"2 × 1"}
    assert [o.base_batch for o in report.outlooks if o.scaling == "strong"] == [64, 256]


def test_a_machine_that_moved_is_left_out_of_the_fit_if_others_remain():
    slow = CanaryReading(matmul_flops_per_s=1.0, copy_bytes_per_s=1.0)
    fast = CanaryReading(matmul_flops_per_s=2.0, copy_bytes_per_s=1.0)
    moved = {"canary": Canary(before=slow, after=fast)}

    def left_out(unstable):
        records = make_sweep(processes=(1, 2))
        for index, run in enumerate(records):
            if (run.environment["num_processes"], run.environment["global_batch_size"]) in unstable:
                records[index] = run.model_copy(update=moved)
        (report,) = study_scaling(records)
        return [(s.num_processes, s.global_batch_size) for s in report.left_out]

    assert left_out({(2, 64)}) == [(2, 64)]
    assert left_out({(2, 64), (2, 256)}) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"fit_on": (1, 3)}, "fit_on: no run is of 3 processes; there are 1, 2, 4"),
        ({"fit_on": (1, 2, 4)}, "fit_on: names all process counts; leave out the one to predict"),
        ({"hold_out_slowest_link": True}, "hold_out_slowest_link: all runs were over one link"),
    ],
)
def test_a_choice_that_leaves_nothing_is_one_line(sweep, options, says):
    with pytest.raises(InputError) as error:
        study_scaling(sweep, Choice(**options))
    assert says in str(error.value)


@pytest.mark.parametrize("how", [{"kinds": ["torch"]}, {"kinds": [], "hooks": ["Watcher"]}])
def test_profiled_runs_have_no_part_in_a_study(sweep, how):
    slow = [profiled(run.model_copy(update={"seed": 9}), **how) for run in sweep[:3]]
    (plain,), (report,) = study_scaling(sweep), study_scaling([*slow, *sweep])
    assert report.family == plain.family
    assert report.predictor.fit == plain.predictor.fit
    told = f"3 of {len(sweep) + 3} runs were profiled and are left out: that costs time"
    assert told in scaling_notes(report)
    with pytest.raises(InputError, match="scaling: all 3 runs were profiled"):
        study_scaling(slow)
