"""Where the time of a step goes, and what joins processes: the arithmetic."""

import pytest
import torch

from mnistbench.engine.interconnect import interconnect_of
from mnistbench.engine.recording import split_of


def test_a_step_is_split_into_computing_exchange_and_waiting():
    # two processes; the second is slower in two of three steps, and then waits for nobody
    computing = torch.tensor([[1.0, 1.0, 3.0], [2.0, 4.0, 1.0]])
    inside = torch.tensor([[1.5, 3.5, 0.25], [0.5, 0.5, 2.25]])
    split = split_of(computing + inside, inside)
    assert split.compute_s == 2.0  # of 1.5, 2.5 and 2 on average
    assert split.communication_s == 0.5  # of 0.5, 0.5 and 0.25
    assert split.wait_s == 1.0  # of 0.5, 1.5 and 1
    assert split.skew_s == 2.0  # of 1, 3 and 2
    assert split.slowest_process == 1


def test_equal_processes_do_not_wait():
    split = split_of(torch.full((4, 10), 0.75), torch.full((4, 10), 0.25))
    assert (split.compute_s, split.communication_s) == (0.5, 0.25)
    assert (split.wait_s, split.skew_s) == (0, 0)


@pytest.mark.parametrize("num_processes", [2, 4, 8])
def test_a_link_is_what_a_ring_over_it_would_take(num_processes):
    latency_s, bytes_per_s, num_bytes = 1e-4, 1e8, 2**22
    others = 2 * (num_processes - 1)
    short_s = others * latency_s
    long_s = short_s + others / num_processes * num_bytes / bytes_per_s
    link = interconnect_of(short_s, long_s, num_bytes=num_bytes, num_processes=num_processes)
    assert link.latency_s == pytest.approx(latency_s)
    assert link.bandwidth_bytes_per_s == pytest.approx(bytes_per_s)


def test_a_long_message_that_was_no_slower_still_has_a_bandwidth():
    link = interconnect_of(2e-3, 1e-3, num_bytes=1000, num_processes=2)
    assert link.bandwidth_bytes_per_s == pytest.approx(1e6)
