"""The fit finds the parameters that figures were made of, and claims no others."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.analysis.scaling.fit import Fit, fit_cost_model
from mnistbench.analysis.scaling.model import Setting, StepTime, predict_step
from mnistbench.schema.record import Link
from tests.analysis.scaling.made_sweep import LINK, TRUTH

SLOW = Link(latency_s=2e-4, bandwidth_bytes_per_s=1e8)
PLACES = [(1, 64), (1, 256), (2, 64), (2, 256), (4, 64), (4, 256)]


def times(places=PLACES, *, truth=TRUTH, links=(LINK,), split=True, threads=1, noise=0.0):
    """What `truth` measures in each place, on two cores."""
    draw = random.Random(1)
    found = []
    for count, batch in places:
        for link in links if count > 1 else [None]:
            per_process = threads(count) if callable(threads) else threads
            setting = Setting(
                num_processes=count,
                global_batch_size=batch,
                num_threads=per_process,
                contention=max(1.0, count * per_process / 2),
                link=link,
            )
            parts = [x * draw.lognormvariate(0, noise) for x in predict_step(truth, setting)]
            _, communication_s, wait_s = parts if split else (None, None, None)
            found.append(StepTime(setting, sum(parts), communication_s, wait_s))
    return found


def assert_near(model, truth, *, rel, names=("fixed_s", "per_sample_s", "call_s", "wait_share")):
    for name in names:
        assert getattr(model, name) == pytest.approx(getattr(truth, name), rel=rel), name


def test_figures_without_noise_give_the_parameters_back():
    fit = Fit(tuple(times()), TRUTH.num_bytes)
    assert_near(fit.model, TRUTH, rel=1e-6)
    assert (fit.model.link_share, fit.model.only_load, fit.assumptions) == (1, None, [])
    assert fit.residual == pytest.approx(0, abs=1e-9)
    assert fit.num_free == 2 + 4 * 3 - 4


def test_noise_moves_parameters_by_little():
    model = fit_cost_model(times(noise=0.02), TRUTH.num_bytes)
    assert_near(model, TRUTH, rel=0.1)


@given(
    st.floats(1e-6, 1e-1),
    st.floats(1e-8, 1e-3),
    st.floats(0, 1e-2),
    st.floats(0, 0.5),
)
def test_any_model_is_found_again(fixed_s, per_sample_s, call_s, wait_share):
    truth = replace(
        TRUTH, fixed_s=fixed_s, per_sample_s=per_sample_s, call_s=call_s, wait_share=wait_share
    )
    model = fit_cost_model(times(truth=truth), truth.num_bytes)
    for time in times(truth=truth):
        assert predict_step(model, time.setting).step_s == pytest.approx(time.step_s, rel=1e-4)


def test_the_power_of_threads_is_told_by_one_process_of_several():
    truth = replace(TRUTH, thread_power=0.7)
    fit = Fit(tuple(times(truth=truth, threads=lambda count: 2 if count == 1 else 1)), 400_000)
    assert fit.model.thread_power == pytest.approx(0.7, abs=0.026)
    assert_near(fit.model, truth, rel=0.02)


def test_threads_that_nothing_tells_are_taken_as_perfect_and_said():
    places = [(1, 64), (2, 256)]
    fit = Fit(tuple(times(places, threads=lambda count: 2 if count == 1 else 1)), 400_000)
    assert fit.model.thread_power == 1
    assert "threads are taken to share out samples perfectly" in fit.assumptions


def test_one_load_is_known_at_itself_only():
    fit = Fit(tuple(times([(1, 64), (2, 128), (4, 256)])), TRUTH.num_bytes)
    assert fit.model.only_load == 64
    assert any("one load" in said for said in fit.assumptions)
    assert predict_step(fit.model, Setting(num_processes=1, global_batch_size=32)) is None


def test_several_links_tell_how_much_of_a_link_is_seen():
    truth = replace(TRUTH, link_share=0.6)
    model = fit_cost_model(times(truth=truth, links=(LINK, SLOW)), truth.num_bytes)
    assert model.link_share == pytest.approx(0.6, rel=1e-3)
    assert model.call_s == pytest.approx(truth.call_s, rel=1e-3)


def test_more_processes_over_one_link_do_not_tell_its_share():
    # on shared cores the call grows with them as well, and would take the link's place
    model = fit_cost_model(times(noise=0.02), TRUTH.num_bytes)
    assert model.link_share == 1


def test_an_exchange_below_its_link_is_a_hidden_part_of_it():
    truth = replace(TRUTH, link_share=0.5, call_s=0.0)
    model = fit_cost_model(times(truth=truth), truth.num_bytes)
    assert model.call_s == 0
    assert model.link_share == pytest.approx(0.5)


def test_a_link_that_was_not_measured_is_fitted_from_several_process_counts():
    truth = replace(TRUTH, call_s=0.0)
    unknown = [
        time._replace(setting=replace(time.setting, link=None)) for time in times(truth=truth)
    ]
    model = fit_cost_model(unknown, truth.num_bytes)
    assert model.link.latency_s == pytest.approx(LINK.latency_s)
    assert model.link.bandwidth_bytes_per_s == pytest.approx(LINK.bandwidth_bytes_per_s)
    two = [time for time in unknown if time.setting.num_processes < 4]
    fit = Fit(tuple(two), truth.num_bytes)
    assert fit.model.link is None
    assert any("what an exchange costs" in said for said in fit.assumptions)
    assert predict_step(fit.model, two[-1].setting) is None
    assert predict_step(fit.model, two[0].setting) is not None


def test_steps_that_were_not_split_still_tell_the_call_beside_one_process_alone():
    truth = replace(TRUTH, wait_share=0.0)
    fit = Fit(tuple(times(truth=truth, split=False)), truth.num_bytes)
    assert_near(fit.model, truth, rel=1e-6, names=("fixed_s", "per_sample_s", "call_s"))
    assert fit.assumptions == ["a step's parts were not measured, and waiting counts as computing"]


def test_unsplit_steps_over_an_unknown_link_do_not_spoil_computing():
    found = times(split=False)
    found = [t._replace(setting=replace(t.setting, link=None)) for t in found[:3]]
    model = fit_cost_model(found, TRUTH.num_bytes)
    assert_near(model, TRUTH, rel=1e-6, names=("fixed_s", "per_sample_s"))


def test_a_slowed_link_is_predicted_from_fast_ones():
    fast = [LINK, Link(latency_s=6e-5, bandwidth_bytes_per_s=5e8)]
    model = fit_cost_model(times(links=fast, noise=0.02), TRUTH.num_bytes)
    (slowed,) = times([(2, 64)], links=[SLOW])
    assert predict_step(model, slowed.setting).step_s == pytest.approx(slowed.step_s, rel=0.05)


def test_no_times_are_refused():
    with pytest.raises(ValueError, match="at least one time"):
        fit_cost_model([], 0)
