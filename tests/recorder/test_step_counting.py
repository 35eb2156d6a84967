"""Steps on a device that runs ahead of the process."""

import pytest
import torch

from mnistbench.recorder import step_counting, used_device
from mnistbench.recorder.clock import EventTimer, Ledger
from mnistbench.recorder.step_counting import StepCounter
from mnistbench.recorder.used_device import step_timer, waits_for
from tests.recorder.test_clock import Device

GPU = torch.device("cuda", 0)


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that makes a step in a millisecond, and counts who waits for it."""
    device, waits = Device(*range(10_000)), []
    monkeypatch.setattr(step_counting, "used_device", lambda: GPU)
    monkeypatch.setattr(step_counting, "waits_for", lambda _device: lambda: waits.append(None))
    monkeypatch.setattr(step_counting, "step_timer", lambda _device: EventTimer(device.event))
    device.waits = waits
    return device


@pytest.mark.parametrize("num_steps", [5, 2500])
def test_no_step_waits_for_the_device_but_the_first_and_where_a_pass_ends(num_steps, gpu):
    begun = []
    steps = StepCounter(Ledger(), at_begin=lambda: begun.append(None))
    for _ in steps.batches(range(num_steps), 1, lambda _batch: 2):
        pass
    assert (steps.log.step, steps.num_samples, begun) == (num_steps, 2 * num_steps, [None])
    assert len(gpu.waits) == 2
    assert steps.log.timer.durations_s() == [0.001] * (num_steps - 1)
    assert gpu.alive <= step_counting._MOST_EVENTS + 1
    with steps.paused("eval"):
        pass
    assert len(gpu.waits) == 4


def test_steps_without_a_loader_do_not_wait_either(gpu):
    steps = StepCounter(Ledger(), at_begin=lambda: None)
    for _ in range(50):
        with steps.one(4, None):
            pass
    assert len(gpu.waits) == 1
    assert len(steps.log.timer.durations_s()) == 49


def test_the_device_is_the_one_that_holds_most_memory(monkeypatch):
    assert used_device.used_device() == torch.device("cpu")
    assert waits_for(torch.device("cpu")) is waits_for(None) is None
    held, waited = {0: 0, 1: 500, 2: 9}, []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "memory_allocated", held.get)
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    assert used_device.used_device() == torch.device("cuda", 1)
    waits_for(torch.device("cuda", 1))()
    assert waited == [1, 2]
    assert isinstance(step_timer(torch.device("cuda", 1)), EventTimer)
    held.update({1: 0, 2: 0})  # initialised, and nothing is there
    assert used_device.used_device() == torch.device("cpu")
