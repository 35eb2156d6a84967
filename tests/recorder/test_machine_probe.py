import torch

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
