import pytest
import torch

from mnistbench.recorder import machine_probe
from mnistbench.recorder.machine_probe import probe_machine

CPU = torch.device("cpu")


def test_canary_reads_speeds_a_machine_can_have():
    reading = probe_machine(CPU, synchronize=None)
    assert 1e8 < reading.matmul_flops_per_s < 1e15
    assert 1e8 < reading.copy_bytes_per_s < 1e14


def test_canary_draws_no_random_number():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    probe_machine(CPU, synchronize=None)
    assert torch.equal(torch.rand(4), expected)


def test_canary_waits_for_the_device_around_each_piece_of_work():
    waits = []
    probe_machine(CPU, synchronize=lambda: waits.append(None))
    assert len(waits) >= 2 * 2 * 10


FLOPS_PER_S, BYTES_PER_S, LAUNCH_S = 50e12, 2.4e12, 8e-6


@pytest.fixture
def card(monkeypatch):
    """A device as fast as an H200; gives the sizes that it was asked for."""
    asked = []

    def matmul_s(_device, side, _wait, _repeats=0):
        asked.append(side)
        return LAUNCH_S + 2 * side**3 / FLOPS_PER_S

    def copy_s(_device, num_bytes, _wait, _repeats=0):
        asked.append(num_bytes)
        return LAUNCH_S + num_bytes / BYTES_PER_S

    monkeypatch.setattr(machine_probe, "_sizes", {})
    monkeypatch.setattr(machine_probe, "_matmul_s", matmul_s)
    monkeypatch.setattr(machine_probe, "_copy_s", copy_s)
    return asked


def test_on_a_fast_device_work_is_measured_and_not_its_launch(card):
    reading = probe_machine(torch.device("meta"), synchronize=None)
    assert reading.matmul_flops_per_s == pytest.approx(FLOPS_PER_S, rel=0.02)
    assert reading.copy_bytes_per_s == pytest.approx(BYTES_PER_S, rel=0.1)
    assert card[-2:] == [4096, 2**28]
    card.clear()
    assert probe_machine(torch.device("meta"), synchronize=None) == reading
    assert card == [4096, 2**28]  # the sizes are found once


def test_on_the_cpu_sizes_are_fixed(card):
    probe_machine(CPU, synchronize=None)
    assert card == [512, 2**22]


def test_sizes_end_where_a_device_is_faster_still(monkeypatch):
    monkeypatch.setattr(machine_probe, "_sizes", {})
    monkeypatch.setattr(machine_probe, "timed_s", lambda work, *_, **__: [work() is None or 1e-9])
    meta = torch.device("meta")  # computes nothing
    probe_machine(meta, synchronize=None)
    assert machine_probe._sizes == {meta: (8192, 2**28)}
