"""The machine while a run trains, as a record has it."""

import time
from types import SimpleNamespace

import psutil
import pytest
import torch

from mnistbench.recorder import telemetry
from mnistbench.recorder.core_use import CoreTimes
from mnistbench.recorder.telemetry import Telemeter


def watched(training_s=0.3):
    telemeter = Telemeter(torch.device("cpu"))
    time.sleep(0.3)
    telemeter.begin()
    time.sleep(training_s)
    return telemeter


def test_nothing_is_known_before_training():
    telemeter = Telemeter(torch.device("cpu"))
    telemeter.sample()
    assert telemeter.reading() is None


def test_a_run_too_short_to_be_sampled_is_sampled_at_its_end():
    reading = watched().reading()
    assert reading.num_samples == 1
    assert reading.rss_peak_bytes > 2**20
    assert reading.cores_used < psutil.cpu_count()
    assert reading.others_cores_before >= 0
    assert reading.others_cores_during >= 0
    assert reading.load_average_1min >= 0


def test_the_cpu_has_no_values_of_a_gpu():
    values = watched().reading().model_dump()
    names = [name for name in values if name.startswith(("gpu_", "device_"))]
    assert {values[name] for name in names} == {None}
    assert len(names) == 7


@pytest.mark.slow
def test_samples_are_half_a_second_apart():
    telemeter = watched(training_s=0.6)
    for _ in range(1000):
        telemeter.sample()
    assert 1 <= telemeter.reading().num_samples < 500


def test_costly_samples_are_fewer(monkeypatch):
    now_s, slow_s = [0.0], 0.02
    monkeypatch.setattr(telemetry, "time", SimpleNamespace(monotonic=lambda: now_s[0]))

    def slow_clock():
        now_s[0] += slow_s

    monkeypatch.setattr(telemetry, "clock_hz", slow_clock)
    telemeter = Telemeter(torch.device("cpu"))
    telemeter.begin()
    while now_s[0] < 10:
        now_s[0] += 0.1
        telemeter.sample()
    assert telemeter.reading().num_samples == 5  # one after half a second, then one in 2 s


def test_a_system_that_does_not_tell_processor_times_leaves_the_rest(monkeypatch):
    def refuse(percpu):
        raise PermissionError

    monkeypatch.setattr(psutil, "cpu_times", refuse)
    telemeter = watched()
    reading = telemeter.reading()
    assert (reading.cores_used, reading.others_cores_during) == (None, None)
    assert reading.rss_peak_bytes


@pytest.mark.slow
def test_a_second_beginning_starts_all_counts_again():
    telemeter = watched(training_s=0.6)
    telemeter.sample()
    telemeter.begin()
    assert telemeter.reading().cores_used is None  # nothing has passed yet
    assert telemeter.reading().num_samples == 1


@pytest.mark.parametrize(
    ("others", "gpu_share", "num_processes", "says"),
    [
        (0.0, 0.0, 1, []),
        (1.5, 0.0, 1, ["other processes use 1.5 of 2 cores: times will be longer and vary more"]),
        (0.0, 0.45, 2, ["another process keeps the GPU busy 45% of the time"]),
        (0.0, 0.45, 1, []),
        (0.0, 0.05, 2, []),
        (0.0, OSError(), OSError(), []),
    ],
    ids=["idle", "crowded", "shared GPU", "our own use", "idle neighbour", "not told"],
)
def test_what_others_take_is_told_before_training(
    monkeypatch, others, gpu_share, num_processes, says
):
    def told(value):
        if isinstance(value, Exception):
            raise value
        return value

    gpu = SimpleNamespace(
        utilization=lambda: told(gpu_share), num_processes=lambda: told(num_processes)
    )
    readings = iter(
        CoreTimes(now_s, 0.0, (busy_s, busy_s), frozenset((0, 1)))
        for now_s, busy_s in ((0.0, 0.0), (1.0, others / 2))
    )
    monkeypatch.setattr(telemetry, "find_gpu", lambda device: gpu)
    monkeypatch.setattr(telemetry, "read_core_times", lambda: next(readings))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert Telemeter(torch.device("cpu")).load() == says
