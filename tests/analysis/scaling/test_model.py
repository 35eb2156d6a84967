"""The model of a step in closed form; its fit finds what steps were made of, and claims no more."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.analysis.scaling.model import StepModel, fit_step, ring_s
from mnistbench.schema.record import Link
from tests.made_sweep import LINK, TRUTH, Truth, true_step_s

PLACES = [(1, 64), (1, 256), (2, 64), (2, 256), (4, 64), (4, 256)]
PARAMETERS = ("per_sample_s", "fixed_s", "call_s")


def times(places=PLACES, *, truth=TRUTH, noise=0.0):
    draw = random.Random(1)
    return [(*at, true_step_s(*at, truth=truth) * draw.lognormvariate(0, noise)) for at in places]


def fit(found, link=LINK):
    return fit_step(found, link, num_bytes=4 * TRUTH.num_parameters)


def test_a_ring_passes_each_byte_twice_but_for_the_share_a_process_has_already():
    link = Link(latency_s=0.5, bandwidth_bytes_per_s=10)
    assert ring_s(link, 1, num_bytes=100) == 0
    assert ring_s(link, 2, num_bytes=100) == 2 * 0.5 + 100 / 10
    assert ring_s(link, 4, num_bytes=100) == 6 * 0.5 + 1.5 * 100 / 10


@given(st.integers(1, 1023), st.integers(0, 10**9))
def test_a_longer_ring_is_never_faster(count, num_bytes):
    here = ring_s(LINK, count, num_bytes=num_bytes)
    assert here <= ring_s(LINK, count + 1, num_bytes=num_bytes)
    assert here <= ring_s(LINK, count, num_bytes=num_bytes + 1)


def test_a_step_is_the_sum_of_its_parts_as_written():
    model = StepModel(fixed_s=1.0, per_sample_s=0.5, call_s=2.0, num_bytes=400, link=LINK)
    assert model.step_s(1, 10) == 1 + 5
    assert model.step_s(2, 10) == pytest.approx(1 + 2.5 + 2 + ring_s(LINK, 2, num_bytes=400))


@given(st.floats(1e-6, 1e-1), st.floats(1e-8, 1e-3), st.floats(0, 1e-2))
def test_any_truth_is_found_again(fixed_s, per_sample_s, call_s):
    truth = Truth(fixed_s=fixed_s, per_sample_s=per_sample_s, call_s=call_s)
    model = fit(times(truth=truth))
    for count, batch, step_s in times([*PLACES, (64, 1024)], truth=truth):
        assert model.step_s(count, batch) == pytest.approx(step_s, rel=1e-4)


def test_noise_moves_parameters_and_predictions_by_little():
    model = fit(times(noise=0.01))
    for name in PARAMETERS:
        assert getattr(model, name) == pytest.approx(getattr(TRUTH, name), rel=0.25)
    assert model.step_s(8, 256) == pytest.approx(true_step_s(8, 256), rel=0.05)


@pytest.mark.parametrize(
    ("places", "fitted"),
    [
        (PLACES, PARAMETERS),
        ([(1, 64), (2, 128)], ("per_sample_s", "call_s")),
        ([(1, 66), (2, 131)], ("per_sample_s", "call_s")),
        ([(1, 64), (2, 64)], ("per_sample_s", "fixed_s")),
        ([(1, 64), (1, 256)], ("per_sample_s", "fixed_s")),
        ([(2, 64)], ("per_sample_s",)),
    ],
)
def test_what_steps_cannot_tell_apart_is_not_fitted(places, fitted):
    model = fit(times(places))
    assert model.fitted == fitted
    assert all(getattr(model, name) == 0 for name in PARAMETERS if name not in fitted)


def test_without_a_link_only_one_process_is_known():
    model = fit(times(), link=None)
    assert (model.step_s(2, 64), model.link) == (None, None)
    assert model.step_s(1, 128) == pytest.approx(true_step_s(1, 128))
    assert fit(times([(2, 64)]), link=None) is None
    assert fit([]) is None
