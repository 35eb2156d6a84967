"""How far more processes gain, and what ends the rows."""

from dataclasses import replace

import pytest

from mnistbench.analysis.scaling.families import families_of
from mnistbench.analysis.scaling.model import Setting
from mnistbench.analysis.scaling.outlook import NO_GAIN, look_ahead
from mnistbench.analysis.scaling.prediction import Predictor
from mnistbench.analysis.scaling.steps import steps_to_target
from tests.made_sweep import LINK, TRUTH, make_sweep

pytestmark = pytest.mark.usefixtures("few_resamples")


def base(batch=64, **values):
    return replace(Setting(num_processes=1, global_batch_size=batch, link=LINK), **values)


def ahead(records, start=None, *, scaling, num_train=50_000):
    (family,) = families_of(records)
    setups = [s for s in family.setups if s.contention == 1]
    predictor = Predictor(tuple(setups), TRUTH.num_bytes, steps_to_target(family.setups, 0.97))
    return look_ahead(predictor, start or base(), scaling=scaling, num_train=num_train)


def test_a_fixed_batch_ends_at_a_sample_for_each_process():
    outlook = ahead(make_sweep(), scaling="strong")
    assert [row.setting.num_processes for row in outlook.rows] == [1, 2, 4, 8, 16, 32, 64]
    assert {row.setting.global_batch_size for row in outlook.rows} == {64}
    assert outlook.rows[0].parts.communication_s == 0


def test_a_growing_batch_ends_with_the_training_set():
    outlook = ahead(make_sweep(), scaling="weak", num_train=1000)
    assert [row.setting.global_batch_size for row in outlook.rows] == [64, 128, 256, 512]
    large = ahead(make_sweep(), scaling="weak", num_train=10**9)
    assert large.rows[-1].setting.num_processes == 1024


@pytest.mark.parametrize("scaling", ["strong", "weak"])
def test_beyond_the_useful_number_nothing_saves_more_than_said(scaling):
    outlook = ahead(make_sweep(batches=(64, 128, 256)), base(256), scaling=scaling)
    times = {row.setting.num_processes: row.time_s.value for row in outlook.rows}
    assert times[outlook.useful] <= NO_GAIN * min(times.values())
    assert times[outlook.useful // 2] > NO_GAIN * min(times.values())
    assert outlook.useful_low <= outlook.useful <= outlook.useful_high


def test_without_a_target_reached_the_useful_number_goes_by_speed():
    outlook = ahead(make_sweep(reached=False), scaling="strong")
    speeds = [row.samples_per_s.value for row in outlook.rows]
    assert not outlook.in_time
    assert {row.time_s for row in outlook.rows} == {None}
    at = [row.setting.num_processes for row in outlook.rows].index(outlook.useful)
    assert speeds[at] * NO_GAIN >= max(speeds)


def test_where_the_model_knows_too_little_there_is_no_outlook():
    one_load = [run for n in (1, 2, 4) for run in make_sweep((n,), (64 * n,))]
    assert ahead(one_load, scaling="strong") is None
    assert len(ahead(one_load, scaling="weak", num_train=9999).rows) == 8
    assert ahead(make_sweep(), base(link=None), scaling="weak") is None


def test_steps_of_one_batch_leave_weak_scaling_to_samples_per_second():
    outlook = ahead(make_sweep(batches=(64,), cores=64), scaling="weak")
    assert (outlook.in_time, outlook.lost_at) == (False, None)
    assert outlook.rows[0].steps is not None
    assert {row.steps for row in outlook.rows[1:]} == {None}
    assert ahead(make_sweep(batches=(64,), cores=64), scaling="strong").in_time


@pytest.mark.parametrize("lost", [512, 400])
def test_a_batch_that_was_measured_not_to_arrive_ends_weak_scaling(lost):
    records = [*make_sweep(), *make_sweep(processes=(1,), batches=(lost,), reached=False)]
    outlook = ahead(records, scaling="weak")
    assert [row.setting.global_batch_size for row in outlook.rows] == [64, 128, 256]
    assert (outlook.in_time, outlook.lost_at) == (True, lost)
    assert not ahead(records, base(lost), scaling="strong").in_time
