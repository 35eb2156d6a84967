"""The whole of it: what is fitted, what is held out, and how near the model comes to that."""

from dataclasses import replace

import pytest

from mnistbench.analysis.scaling.analysis import analyse_scaling
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Link
from tests.made_records import profiled
from tests.made_sweep import LINK, TRUTH, make_sweep, true_step_s


@pytest.fixture(scope="module")
def sweep():
    return make_sweep(processes=(1, 2, 4, 8), cores=4)


def places(checks):
    return [(c.topology.num_processes, c.topology.global_batch_size) for c in checks]


def test_the_largest_count_with_a_core_each_is_held_out_of_three(sweep):
    (report,) = analyse_scaling(sweep)
    assert places(report.fitted) == [(1, 64), (1, 256), (2, 64), (2, 256)]
    assert places(report.held_out) == [(4, 64), (4, 256), (8, 64), (8, 256)]
    (report,) = analyse_scaling(make_sweep(processes=(1, 2)))
    assert (len(report.fitted), report.held_out) == (4, ())


def test_the_model_is_the_truth_and_its_error_held_out_small(sweep):
    (report,) = analyse_scaling(sweep)
    assert report.model.fixed_s == pytest.approx(TRUTH.fixed_s, rel=0.1)
    assert report.model.per_sample_s == pytest.approx(TRUTH.per_sample_s, rel=0.05)
    assert max(abs(check.error) for check in report.fitted) < 0.02
    assert max(abs(check.error) for check in report.held_out[:2]) < 0.03
    assert min(check.error for check in report.held_out[2:]) > 0.5  # it knows no shared core


def test_a_law_that_holds_no_more_is_seen_in_the_error_held_out():
    records = make_sweep(processes=(1, 2), cores=64, noise=0.0)
    late = replace(TRUTH, wait_share=1.0)
    slow = make_sweep(processes=(4,), cores=64, noise=0.0, truth=late)
    (report,) = analyse_scaling([*records, *slow])
    for check, batch in zip(report.held_out, (64, 256), strict=True):
        expected = true_step_s(4, batch, truth=late) / true_step_s(4, batch) - 1
        assert check.error == pytest.approx(expected, rel=1e-6)
        assert check.predicted == pytest.approx((1 + expected) * check.measured)


def test_what_to_fit_on_may_be_chosen(sweep):
    (report,) = analyse_scaling(sweep, fit_on=(1, 4))
    assert set(places(report.fitted)) == {(1, 64), (1, 256), (4, 64), (4, 256)}
    assert [c.topology.num_processes for c in report.held_out] == [2, 2, 8, 8]
    (report,) = analyse_scaling(sweep, fit_on=(8,))
    assert (report.model, report.fitted, report.forecasts) == (None, (), ())


def test_the_next_two_doublings_are_forecast_each_with_a_core(sweep):
    (report,) = analyse_scaling(sweep)
    found = {(row.scaling, row.num_processes, row.global_batch_size) for row in report.forecasts}
    assert found == {
        *(("strong", count, batch) for count in (8, 16) for batch in (64, 256)),
        *(("weak", count, batch * count) for count in (8, 16) for batch in (64, 256)),
    }
    for row in report.forecasts:
        step_s = true_step_s(row.num_processes, row.global_batch_size)
        assert row.samples_per_s == pytest.approx(row.global_batch_size / step_s, rel=0.1)


def test_a_forecast_ends_at_a_sample_for_each_and_at_the_training_set():
    records = make_sweep(batches=(4,), cores=64)
    small = [
        r.model_copy(update={"dataset": r.dataset.model_copy(update={"num_train": 40})})
        for r in records
    ]
    (report,) = analyse_scaling(small)
    assert [(row.scaling, row.num_processes) for row in report.forecasts] == [("weak", 8)]


def test_a_report_for_each_configuration(sweep):
    reports = analyse_scaling([*sweep, *make_sweep(config={"lr": 0.5})], target=0.9)
    assert [report.name[-8:] for report in reports] == [" lr 0.01", ", lr 0.5"]
    assert {report.target for report in reports} == {0.9}


def test_runs_that_all_shared_their_cores_are_not_modelled():
    (report,) = analyse_scaling(make_sweep(environment={"measured_alone": False}))
    assert (report.model, report.forecasts, report.fitted, report.held_out) == (None, (), (), ())
    assert {row.steps.reached for row in report.measured} == {5}


def test_held_out_processes_are_predicted_over_the_fitted_link_and_not_their_own():
    records = make_sweep(processes=(1, 2), cores=64)
    other = Link(latency_s=1.5e-4, bandwidth_bytes_per_s=7e8)
    held_out = make_sweep(processes=(4,), cores=64)
    moved = [run.model_copy(update={"link": other}) for run in held_out]
    models = [analyse_scaling([*records, *four])[0].model for four in (held_out, moved)]
    assert models[0] == models[1]
    assert models[0].link == LINK


def test_threads_of_the_most_processes_are_modelled():
    records = [*make_sweep(), *make_sweep(processes=(1,), threads=2)]
    (report,) = analyse_scaling(records)
    assert {c.topology.num_threads for c in (*report.fitted, *report.held_out)} == {1}


@pytest.mark.parametrize(
    ("fit_on", "says"),
    [
        ((1, 3), "fit_on: no run is of 3 processes; there are 1, 2, 4, 8"),
        ((1, 2, 4, 8), "fit_on: names all process counts; leave out the one to predict"),
    ],
)
def test_a_choice_that_leaves_nothing_is_one_line(sweep, fit_on, says):
    with pytest.raises(InputError) as error:
        analyse_scaling(sweep, fit_on=fit_on)
    assert says in str(error.value)


@pytest.mark.parametrize("how", [{"kinds": ["torch"]}, {"kinds": [], "hooks": ["Watcher"]}])
def test_profiled_runs_have_no_part_in_it(sweep, how):
    slow = [profiled(run.model_copy(update={"seed": 9}), **how) for run in sweep[:3]]
    (plain,), (report,) = analyse_scaling(sweep), analyse_scaling([*slow, *sweep])
    assert report.model == plain.model
    told = f"3 of {len(sweep) + 3} runs were profiled and are left out: that costs time"
    assert report.unseen == (told,)
    with pytest.raises(InputError, match="scaling: all 3 runs were profiled"):
        analyse_scaling(slow)
