"""Random numbers are left as they were, and what a step changes in Python's variables is found."""

import random
from collections import deque
from contextlib import suppress
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from mnistbench.engine.unchanged import (
    device_rng_state,
    held_tensors,
    preserved_rng,
    python_state,
)

STEPS = {"number": 0}
COUNT = 0


class Kept(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleList([nn.Linear(1, 1)])
        self.plan = SimpleNamespace(rates=[0.1], seen=deque([1.0], maxlen=2))
        self.mean, self.table = torch.zeros(2), np.zeros(2)

    def forward(self, images):
        return images * factor()


def factor():
    return STEPS["number"] + COUNT


def closing_over(kept):
    return lambda: kept["number"]


@pytest.mark.parametrize(
    "step",
    [
        lambda one: setattr(one, "calls", 1),
        lambda one: setattr(one.inner[0], "calls", 1),
        lambda one: one.plan.rates.append(0.2),
        lambda one: one.plan.seen.append(2.0),
        lambda one: setattr(one, "mean", one.mean * 0.9),
        lambda _: STEPS.update(number=STEPS["number"] + 1),
        lambda _: random.random(),
        lambda _: np.random.rand(),  # noqa: NPY002 as users do
        lambda one: one.table.fill(1),
    ],
    ids=["attribute", "layer", "list", "deque", "tensor", "global", "random", "numpy", "array"],
)
def test_a_change_is_seen(step):
    one = Kept()
    before = python_state(one)
    assert python_state(one) == before
    step(one)
    assert python_state(one) != before


@pytest.mark.parametrize("root", [closing_over, lambda kept: partial(max, [kept])])
def test_a_change_is_seen_through_functions(root):
    kept = {"number": 0}
    function = root(kept)
    before = python_state(function)
    kept["number"] = 1
    assert python_state(function) != before


def test_new_values_in_the_same_tensors_are_no_change():
    one = Kept()
    before = python_state(one)
    with torch.no_grad():
        for tensor in held_tensors(one):
            tensor.add_(1)
    torch.rand(1)
    assert python_state(one) == before
    assert {id(tensor) for tensor in held_tensors(one)} == {
        id(one.mean),
        *map(id, one.parameters()),
    }


def test_beside_a_device_numbers_that_the_host_draws_are_a_change():
    one = torch.zeros(1, device="meta")
    before = python_state(one)
    torch.rand(1)
    assert python_state(one) != before


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
