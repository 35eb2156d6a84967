"""The two halves of MuonAdamW against torch's own, and that together they are one optimizer."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn, optim

from mnistbench.schema.config import RunConfig
from mnistbench.workload.muon import MuonAdamW
from tests.workload.small_training import assert_same_weights, put_gradients, small_net, train

LR, DECAY = 0.02, 0.1
HIDDEN = ("0.weight", "4.weight")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config_of(**changes: object) -> RunConfig:
    values = {
        "optimizer": "muon",
        "lr": LR,
        "momentum": 0.7,
        "nesterov": True,
        "beta1": 0.8,
        "beta2": 0.95,
        "weight_decay": DECAY,
    }
    return RunConfig(**(values | changes))


def adamw_on(params: Iterable[nn.Parameter]) -> optim.AdamW:
    return optim.AdamW(params, lr=LR, betas=(0.8, 0.95), weight_decay=DECAY)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def muon_on_matrix(weight: Tensor, config: RunConfig) -> tuple[nn.Parameter, optim.Muon]:
    """The weight's own copy as a matrix, under torch's Muon."""
    matrix = nn.Parameter(weight.detach().clone().flatten(1))
    muon = optim.Muon(
        [matrix],
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        nesterov=config.nesterov,
        adjust_lr_fn="match_rms_adamw",
    )
    return matrix, muon


def test_muon_takes_hidden_matrices_and_adamw_the_rest():
    model = small_net()
    names = {weight: name for name, weight in model.named_parameters()}
    muon, adamw = MuonAdamW(model, config_of()).param_groups
    assert [names[weight] for weight in muon["params"]] == list(HIDDEN)
    assert {names[weight] for weight in adamw["params"]} == set(names.values()) - set(HIDDEN)


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("nesterov", [False, True])
def test_hidden_weights_move_like_their_matrix_under_torchs_muon(name, nesterov):
    config = config_of(nesterov=nesterov)
    model = small_net()
    optimizer = MuonAdamW(model, config)
    weight = model.get_parameter(name)
    matrix, muon = muon_on_matrix(weight, config)
    for step in range(4):
        put_gradients(model, step)
        matrix.grad = weight.grad.flatten(1).clone()
        optimizer.step()
        muon.step()
        assert torch.equal(weight.flatten(1), matrix)


def test_the_rest_moves_like_adamw():
    model = small_net()
    optimizer = MuonAdamW(model, config_of())
    rest = {name: weight for name, weight in model.named_parameters() if name not in HIDDEN}
    copies = {name: nn.Parameter(weight.detach().clone()) for name, weight in rest.items()}
    reference = adamw_on(copies.values())
    for step in range(4):
        put_gradients(model, step)
        for name, weight in rest.items():
            copies[name].grad = weight.grad.clone()
        optimizer.step()
        reference.step()
        assert all(torch.equal(copies[name], weight) for name, weight in rest.items())


@pytest.mark.parametrize("name", HIDDEN)
def test_muons_update_is_orthogonal_up_to_its_scale(name):
    model = small_net()
    optimizer = MuonAdamW(model, config_of(weight_decay=0.0))
    weight = model.get_parameter(name)
    before = weight.detach().clone()
    generator = torch.Generator().manual_seed(3)
    weight.grad = torch.randn(weight.shape, generator=generator) * 1e-3
    optimizer.step()
    update = (before - weight.detach()).flatten(1) / LR
    sizes = torch.linalg.svdvals(update) / (0.2 * math.sqrt(max(update.shape)))
    assert (sizes > 0.6).all()
    assert (sizes < 1.3).all()
    assert torch.linalg.svdvals(weight.grad.flatten(1)).max() < 0.1, "the gradient was no such"


def test_a_new_lr_reaches_both_halves():
    model, other = small_net(), small_net()
    optimizer = MuonAdamW(model, config_of())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    train(model, optimizer, [0])
    assert_same_weights(model, other)

    optimizer = MuonAdamW(model, config_of())
    for group in optimizer.param_groups:
        group["lr"] = 0.5
    train(model, optimizer, range(2))
    train(other, MuonAdamW(other, config_of(lr=0.5)), range(2))
    assert_same_weights(model, other)


def test_a_torch_scheduler_drives_both_halves():
    model = small_net()
    optimizer = MuonAdamW(model, config_of(lr=1.0))
    scheduler = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    train(model, optimizer, [0])
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


def test_grad_scaler_unscales_each_gradient_once():
    model, other = small_net(), small_net()
    optimizer = MuonAdamW(model, config_of())
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(torch.ones(()))
    for step in range(2):
        put_gradients(model, step)
        plain = [weight.grad.clone() for weight in model.parameters()]
        for weight in model.parameters():
            weight.grad.mul_(1024)
        scaler.unscale_(optimizer)
        assert all(map(torch.equal, plain, (weight.grad for weight in model.parameters())))
        scaler.step(optimizer)
        scaler.update()
    train(other, MuonAdamW(other, config_of()), range(2))
    assert_same_weights(model, other)


@pytest.mark.parametrize("name", ["0.weight", "6.bias"])
def test_grad_scaler_skips_a_step_that_overflowed(name):
    model, other = small_net(), small_net()
    optimizer = MuonAdamW(model, config_of())
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(torch.ones(()))
    put_gradients(model, 0)
    model.get_parameter(name).grad.view(-1)[0] = math.inf
    scaler.step(optimizer)
    assert_same_weights(model, other)


@pytest.mark.parametrize("how", ["in place", "exchanged"])
def test_weights_set_elsewhere_are_those_that_move(how):
    model, other = small_net(), small_net()
    optimizer, reference = (MuonAdamW(m, config_of()) for m in (model, other))
    train(model, optimizer, [0])
    train(other, reference, [0])
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        if how == "in place":
            ours.detach().mul_(0.5)
        else:
            ours.data = ours.data * 0.5
        theirs.detach().mul_(0.5)
    train(model, optimizer, [1])
    train(other, reference, [1])
    assert_same_weights(model, other)


def test_channels_last_makes_no_difference():
    model, other = small_net(), small_net().to(memory_format=torch.channels_last)
    assert not other[0].weight.is_contiguous()
    optimizer, reference = (MuonAdamW(m, config_of()) for m in (model, other))
    for step in range(3):
        put_gradients(model, step)
        for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
            theirs.grad = torch.empty_like(theirs).copy_(ours.grad)
        optimizer.step()
        reference.step()
    assert_same_weights(model, other)
    assert other[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_frozen_and_unused_parameters_stay():
    model = small_net()
    model[0].weight.requires_grad_(False)
    model[1].bias.requires_grad_(False)
    before = weights(model)
    train(model, MuonAdamW(model, config_of()), range(2))
    still = {name for name, weight in weights(model).items() if torch.equal(weight, before[name])}
    assert still == {"0.weight", "1.bias"}


def test_a_model_of_one_layer_is_all_adamws():
    model, other = nn.Linear(4, 10), nn.Linear(4, 10)
    other.load_state_dict(model.state_dict())
    optimizer, reference = MuonAdamW(model, config_of()), adamw_on(other.parameters())
    for net, steps in ((model, optimizer), (other, reference)):
        net(torch.ones(2, 4)).square().sum().backward()
        steps.step()
    assert_same_weights(model, other)


def test_zero_grad_frees_the_gradients():
    model = small_net()
    optimizer = MuonAdamW(model, config_of())
    put_gradients(model, 0)
    gradients = [weakref.ref(weight.grad) for weight in model.parameters()]
    optimizer.step()
    optimizer.zero_grad()
    assert [gradient() for gradient in gradients] == [None] * len(gradients)


def test_a_closure_is_refused():
    with pytest.raises(TypeError, match="takes no closure"):
        MuonAdamW(small_net(), config_of()).step(lambda: 1.5)
