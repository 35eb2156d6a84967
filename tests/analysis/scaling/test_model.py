"""The cost model in closed form, and where it ends."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.analysis.scaling.model import Setting, expected_maximum, predict_step, ring_s
from mnistbench.schema.record import Link
from tests.made_sweep import LINK, TRUTH

COUNTS = st.integers(1, 1024)
LINKS = st.builds(Link, latency_s=st.floats(0, 1), bandwidth_bytes_per_s=st.floats(1e3, 1e12))


def step(count, batch=1024, **values):
    setting = Setting(num_processes=count, global_batch_size=batch, link=LINK)
    return predict_step(TRUTH, replace(setting, **values))


def test_a_ring_passes_each_byte_twice_but_for_the_share_a_process_has_already():
    link = Link(latency_s=0.5, bandwidth_bytes_per_s=10)
    assert ring_s(link, 1, num_bytes=100) == 0
    assert ring_s(link, 2, num_bytes=100) == 2 * 0.5 + 100 / 10
    assert ring_s(link, 4, num_bytes=100) == 6 * 0.5 + 1.5 * 100 / 10


@given(LINKS, st.integers(1, 1023), st.integers(0, 10**9))
def test_a_longer_ring_is_never_faster(link, count, num_bytes):
    here = ring_s(link, count, num_bytes=num_bytes)
    assert here <= ring_s(link, count + 1, num_bytes=num_bytes)
    assert here <= ring_s(link, count, num_bytes=num_bytes + 1)


def test_a_step_is_the_sum_of_its_parts_as_written():
    compute_s = 2e-3 + 5e-5 * 512 + 1e-3
    parts = step(2)
    assert parts.compute_s == pytest.approx(compute_s)
    assert parts.communication_s == pytest.approx(3e-4 + ring_s(LINK, 2, num_bytes=400_000))
    assert parts.wait_s == pytest.approx(0.05 * expected_maximum(2) * compute_s)
    assert parts.step_s == pytest.approx(sum(parts))


def test_one_process_exchanges_nothing_and_waits_for_nobody():
    assert step(1)[1:] == (0, 0)
    assert step(1, link=None) == step(1)


def test_threads_beyond_the_cores_slow_what_a_process_does_itself():
    alone, crowded = step(4), step(4, contention=2.0)
    assert crowded.compute_s == pytest.approx(2 * alone.compute_s)
    assert crowded.communication_s == pytest.approx(alone.communication_s + TRUTH.call_s)


@given(COUNTS, st.integers(1, 10_000))
def test_a_smaller_part_of_a_batch_never_computes_longer(count, batch):
    assert step(count + 1, batch).compute_s <= step(max(2, count), batch).compute_s
    assert step(count, batch).compute_s >= TRUTH.fixed_s


@pytest.mark.parametrize("count", [2, 4, 16, 64])
def test_the_expected_maximum_is_that_of_simulated_normals(count):
    draws = np.random.default_rng(0).normal(size=(20_000, count))
    assert expected_maximum(count) == pytest.approx(draws.max(axis=1).mean(), rel=0.05)


def test_what_the_model_does_not_know_is_none():
    assert step(2, link=None) is None
    one_batch = replace(TRUTH, only_local_batch=64.0)
    setting = Setting(num_processes=1, global_batch_size=64)
    assert predict_step(one_batch, setting) is not None
    assert predict_step(one_batch, replace(setting, global_batch_size=128)) is None
    assert predict_step(one_batch, replace(setting, num_processes=2)) is None
