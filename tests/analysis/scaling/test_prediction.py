"""Predictions and their intervals, held to simulated truth."""

import math
from dataclasses import replace
from statistics import fmean, median

import pytest

from mnistbench.analysis.scaling import prediction, steps
from mnistbench.analysis.scaling.families import families_of
from mnistbench.analysis.scaling.model import Setting, predict_step
from mnistbench.analysis.scaling.prediction import Predictor
from mnistbench.analysis.scaling.steps import steps_to_target
from mnistbench.schema.record import Link
from tests.made_sweep import LINK, TRUTH, make_sweep


def predictor_of(records):
    (family,) = families_of(records)
    return Predictor(family.setups, TRUTH.num_bytes, steps_to_target(family.setups, 0.97))


def base(batch=64, **values):
    return replace(Setting(num_processes=1, global_batch_size=batch, link=LINK), **values)


@pytest.mark.slow
def test_intervals_cover_what_was_not_measured_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr(prediction, "RESAMPLES", 200)
    monkeypatch.setattr(steps, "RESAMPLES", 200)
    covered, widths, trials = [], [], 80
    for draw in range(trials):
        predictor = predictor_of(make_sweep(processes=(1, 2), draw=draw, noise=0.04))
        held_out = make_sweep(processes=(1, 4, 16), draw=draw + trials, noise=0.04)
        (family,) = families_of(held_out)
        for setup in family.setups[2:]:
            _, low, high = predictor.predict(replace(setup.setting, link=LINK)).samples_per_s
            speeds = [math.log(run.throughput.samples_per_s) for run in setup.timed]
            covered.append(low <= math.exp(fmean(speeds)) <= high)
            widths.append(math.log(high / low))
    assert 0.92 <= fmean(covered) <= 1
    assert median(widths) < 0.5


def test_a_prediction_is_the_fitted_step_with_its_steps_and_time():
    predictor = predictor_of(make_sweep())
    found = predictor.predict(base(256, num_processes=8))
    parts = predict_step(predictor.fit.model, base(256, num_processes=8))
    assert found.parts == parts
    assert found.samples_per_s.value == 256 / parts.step_s
    assert found.steps == predictor.steps.medians[256]
    assert found.time_s.value == pytest.approx(found.steps * parts.step_s)
    for figure in (found.samples_per_s, found.time_s):
        assert 0.6 * figure.value < figure.low < figure.value < figure.high < 1.6 * figure.value


def test_a_link_that_was_measured_differently_widens_far_predictions():
    def width(links):
        records = make_sweep(processes=(1,))
        for seed, factor in enumerate(links):
            link = Link(latency_s=5e-5 * factor, bandwidth_bytes_per_s=2e9 / factor)
            records += make_sweep(processes=(2,), seeds=[seed], link=link)
        _, low, high = predictor_of(records).predict(base(num_processes=64)).samples_per_s
        return math.log(high / low)

    assert width([0.7, 0.8, 1, 1.2, 1.3]) > 2 * width([1] * 5)


def test_single_runs_have_no_interval():
    found = predictor_of(make_sweep(seeds=[0])).predict(base(num_processes=8))
    assert found.samples_per_s[1:] == (None, None)
    assert found.time_s[1:] == (None, None)


def test_a_run_is_drawn_with_all_its_parts():
    """Where an exchange takes what computing leaves, steps vary by nothing."""
    records = make_sweep(processes=(1, 2), noise=0.0, step_noise=0.0)
    for index, run in enumerate(records):
        split = run.throughput.step_split
        if split.communication_s:
            shift = 0.3 * split.communication_s * (index % 5 - 2) / 2
            moved = {
                "communication_s": split.communication_s + shift,
                "compute_s": split.compute_s - shift,
            }
            throughput = run.throughput.model_copy(
                update={"step_split": split.model_copy(update=moved)}
            )
            records[index] = run.model_copy(update={"throughput": throughput})
    predictor = predictor_of(records)
    _, low, high = predictor.predict(base(num_processes=2)).samples_per_s
    assert high / low < 1.01
    draws = predictor._models
    assert max(m.call_s for m in draws) > 1.1 * min(m.call_s for m in draws)


def test_few_seeds_bound_speeds_but_no_times():
    found = predictor_of(make_sweep(seeds=range(3))).predict(base(num_processes=8))
    assert None not in found.samples_per_s
    assert found.time_s[1:] == (None, None)
