"""Random number generators are left as they were, on any kind of device."""

from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch

from mnistbench.engine.unchanged import device_rng_state, preserved_rng


def test_the_cpus_generator_is_left_as_it_was_even_by_an_error():
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with suppress(ValueError), preserved_rng(torch.device("cpu")):
        torch.rand(3)
        raise ValueError
    assert torch.equal(torch.rand(2), expected)
    assert device_rng_state(torch.device("cpu")) is None


@pytest.mark.parametrize("name", ["cuda:1", "xpu:0", "mps:0"])
def test_the_generator_of_a_device_is_left_as_it_was(monkeypatch, name):
    device = torch.device(name)
    states = {device: torch.tensor([7], dtype=torch.uint8)}

    def set_rng_state(state, where):
        states[where] = state

    module = SimpleNamespace(get_rng_state=states.__getitem__, set_rng_state=set_rng_state)
    monkeypatch.setattr(torch, "get_device_module", lambda _: module)
    with preserved_rng(device):
        states[device] = torch.tensor([9], dtype=torch.uint8)
    assert states == {device: torch.tensor([7], dtype=torch.uint8)}
