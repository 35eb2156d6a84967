"""Optimizers against torch's own by name, and what all of them must do alike."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterable
from typing import get_args

import pytest
import torch
from torch import nn, optim
from torch.nn import functional

from mnistbench.schema.config import RunConfig
from mnistbench.schema.names import OptimizerName
from mnistbench.workload.optimizers import OPTIMIZERS, build_optimizer, step_and_clear
from tests.workload.small_training import assert_same_weights, small_net, train

NAMES: tuple[OptimizerName, ...] = get_args(OptimizerName)
LR, DECAY = 0.02, 0.1

Params = Iterable[nn.Parameter]

TORCH: dict[OptimizerName, Callable[[Params], optim.Optimizer]] = {
    "sgd": lambda p: optim.SGD(p, lr=LR, momentum=0.7, nesterov=True, weight_decay=DECAY),
    "adam": lambda p: optim.Adam(p, lr=LR, betas=(0.8, 0.95), weight_decay=DECAY),
    "adamw": lambda p: optim.AdamW(p, lr=LR, betas=(0.8, 0.95), weight_decay=DECAY),
    "adadelta": lambda p: optim.Adadelta(p, lr=LR, rho=0.9, eps=1e-6, weight_decay=DECAY),
    "rmsprop": lambda p: optim.RMSprop(p, lr=LR, momentum=0.7, weight_decay=DECAY),
}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config_of(name: OptimizerName, **changes: object) -> RunConfig:
    values = {
        "loop": "stock",  # torch's own defaults
        "optimizer": name,
        "lr": LR,
        "momentum": 0.7,
        "nesterov": name in {"sgd", "muon"},
        "beta1": 0.8,
        "beta2": 0.95,
        "weight_decay": DECAY,
    }
    return RunConfig(**(values | changes))


@pytest.mark.parametrize("name", NAMES)
def test_a_step_without_torchs_wrappers_is_the_same_step(name):
    nets = [small_net(), small_net()]
    wrapped, bare = (build_optimizer(net, config_of(name)) for net in nets)
    for seed in range(3):
        for net in nets:
            torch.manual_seed(seed)
            for weight in net.parameters():
                weight.grad = torch.randn_like(weight)
        wrapped.step()
        step_and_clear(bare)
    assert_same_weights(*nets)
    assert all(weight.grad is None for weight in nets[1].parameters())


def test_registry_has_exactly_the_names():
    assert tuple(OPTIMIZERS) == NAMES
    assert set(TORCH) == set(NAMES) - {"muon"}


@pytest.mark.parametrize("name", sorted(TORCH))
def test_is_the_torch_optimizer_of_that_name(name):
    model, other = small_net(), small_net()
    optimizer, reference = build_optimizer(model, config_of(name)), TORCH[name](other.parameters())
    assert type(optimizer) is type(reference)
    for step in range(4):
        train(model, optimizer, [step])
        train(other, reference, [step])
        assert_same_weights(model, other)


@pytest.mark.parametrize("name", NAMES)
def test_lowers_the_loss(name):
    model = small_net()
    config = config_of(name, weight_decay=0.0, lr=1.0 if name == "adadelta" else 0.01)
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(32, 2, 8, 8, generator=generator)
    labels = torch.randint(10, (32,), generator=generator)
    optimizer = build_optimizer(model, config)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_it_goes_on_bitwise(name):
    model = small_net()
    optimizer = build_optimizer(model, config_of(name))
    train(model, optimizer, range(3))
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    train(model, optimizer, range(3, 6))

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = small_net(seed=1)
    fresh = build_optimizer(other, config_of(name, lr=9.0))
    other.load_state_dict(saved["model"])
    fresh.load_state_dict(saved["optimizer"])
    train(other, fresh, range(3, 6))
    assert_same_weights(model, other)


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_does_not_change_by_being_loaded_back(name):
    model = small_net()
    optimizer = build_optimizer(model, config_of(name))
    train(model, optimizer, range(2))
    before = copy.deepcopy(optimizer.state_dict())
    optimizer.load_state_dict(optimizer.state_dict())
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert after["state"].keys() == before["state"].keys()
    for key, values in before["state"].items():
        assert after["state"][key].keys() == values.keys() != set()
        assert all(
            torch.equal(after["state"][key][k], v) for k, v in values.items() if v is not None
        )


@pytest.mark.parametrize("name", NAMES)
def test_param_groups_hold_each_parameter_once(name):
    model = small_net()
    optimizer = build_optimizer(model, config_of(name))
    held = [weight for group in optimizer.param_groups for weight in group["params"]]
    assert len(held) == len(list(model.parameters()))
    assert set(held) == set(model.parameters())
    assert all(group["lr"] == LR for group in optimizer.param_groups)
