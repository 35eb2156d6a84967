"""Predictions and their intervals, held to simulated truth."""

import math
from dataclasses import replace
from statistics import fmean

import pytest

from mnistbench.analysis.scaling import prediction, steps
from mnistbench.analysis.scaling.model import Setting, predict_step
from mnistbench.analysis.scaling.prediction import NO_GAIN, Predictor
from mnistbench.analysis.scaling.setups import families_of
from mnistbench.analysis.scaling.steps import steps_to_target
from mnistbench.schema.record import Link
from tests.analysis.scaling.made_sweep import LINK, TRUTH, make_sweep


def predictor_of(records):
    (family,) = families_of(records)
    return Predictor(family.setups, TRUTH.num_bytes, steps_to_target(family.setups, 0.97))


def base(batch=64, **values):
    return replace(Setting(num_processes=1, global_batch_size=batch, link=LINK), **values)


def test_intervals_cover_what_was_not_measured_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr(prediction, "RESAMPLES", 200)
    monkeypatch.setattr(steps, "RESAMPLES", 200)
    covered, trials = [], 80
    for draw in range(trials):
        predictor = predictor_of(make_sweep(processes=(1, 2), draw=draw, noise=0.04))
        held_out = make_sweep(processes=(1, 4, 16), draw=draw + trials, noise=0.04)
        (family,) = families_of(held_out)
        for setup in family.setups[2:]:
            _, low, high = predictor.predict(setup.setting).samples_per_s
            speeds = [math.log(run.throughput.samples_per_s) for run in setup.timed]
            covered.append(low <= math.exp(fmean(speeds)) <= high)
    assert 0.92 <= fmean(covered) <= 1


def test_a_prediction_is_the_fitted_step_with_its_steps_and_time():
    predictor = predictor_of(make_sweep())
    found = predictor.predict(base(256, num_processes=8))
    parts = predict_step(predictor.fit.model, base(256, num_processes=8))
    assert found.parts == parts
    assert found.samples_per_s.value == 256 / parts.step_s
    assert found.steps == predictor.steps.medians[256]
    assert found.time_s.value == pytest.approx(found.steps * parts.step_s)
    for figure in (found.samples_per_s, found.time_s):
        assert figure.low < figure.value < figure.high


def test_the_link_that_was_measured_differently_widens_far_predictions():
    def width(links):
        records = make_sweep(processes=(1,))
        for seed, factor in enumerate(links):
            link = Link(latency_s=5e-5 * factor, bandwidth_bytes_per_s=2e9 / factor)
            records += make_sweep(processes=(2,), seeds=[seed], link=link)
        _, low, high = predictor_of(records).predict(base(num_processes=64)).samples_per_s
        return math.log(high / low)

    assert width([0.7, 0.8, 1, 1.2, 1.3]) > 2 * width([1] * 5)


def test_single_runs_are_taken_to_differ_as_they_do_from_the_model():
    found = predictor_of(make_sweep(seeds=[0])).predict(base(num_processes=8))
    assert found.samples_per_s.low < found.samples_per_s.value < found.samples_per_s.high
    assert found.time_s[1:] == (None, None)


def test_single_runs_without_a_figure_to_spare_have_no_interval():
    records = make_sweep(processes=(1,), seeds=[0])
    records += make_sweep(processes=(2,), batches=(64,), seeds=[0], split=False)
    predictor = predictor_of(records)
    assert (predictor.fit.num_free, predictor.fit.residual) == (0, None)
    assert predictor.predict(base(num_processes=8)).samples_per_s[1:] == (None, None)


def test_few_seeds_bound_speeds_but_no_times():
    found = predictor_of(make_sweep(seeds=range(3))).predict(base(num_processes=8))
    assert None not in found.samples_per_s
    assert found.time_s[1:] == (None, None)


def test_a_fixed_batch_ends_at_a_sample_for_each_process():
    outlook = predictor_of(make_sweep()).outlook("strong", base(), num_train=50_000)
    assert [row.setting.num_processes for row in outlook.rows] == [1, 2, 4, 8, 16, 32, 64]
    assert {row.setting.global_batch_size for row in outlook.rows} == {64}
    assert outlook.rows[0].parts.communication_s == 0


def test_a_growing_batch_ends_with_the_training_set():
    outlook = predictor_of(make_sweep()).outlook("weak", base(), num_train=1000)
    assert [row.setting.global_batch_size for row in outlook.rows] == [64, 128, 256, 512]
    large = predictor_of(make_sweep()).outlook("weak", base(), num_train=10**9)
    assert large.rows[-1].setting.num_processes == 1024


@pytest.mark.parametrize("scaling", ["strong", "weak"])
def test_beyond_the_useful_number_nothing_saves_more_than_said(scaling):
    outlook = predictor_of(make_sweep()).outlook(scaling, base(256), num_train=50_000)
    times = {row.setting.num_processes: row.time_s.value for row in outlook.rows}
    assert times[outlook.useful] <= NO_GAIN * min(times.values())
    assert times[outlook.useful // 2] > NO_GAIN * min(times.values())
    assert outlook.useful_low <= outlook.useful <= outlook.useful_high


def test_without_a_target_reached_the_useful_number_goes_by_speed():
    outlook = predictor_of(make_sweep(reached=False)).outlook("strong", base(), num_train=9999)
    speeds = [row.samples_per_s.value for row in outlook.rows]
    assert {row.time_s for row in outlook.rows} == {None}
    at = [row.setting.num_processes for row in outlook.rows].index(outlook.useful)
    assert speeds[at] * NO_GAIN >= max(speeds)


def test_where_the_model_knows_too_little_there_is_no_outlook():
    one_load = [run for n in (1, 2, 4) for run in make_sweep((n,), (64 * n,))]
    predictor = predictor_of(one_load)
    assert predictor.outlook("strong", base(), num_train=9999) is None
    assert len(predictor.outlook("weak", base(), num_train=9999).rows) == 8
    assert predictor_of(make_sweep()).outlook("weak", base(link=None), num_train=9999) is None
