"""Optimizers: torch's own, set up from a config."""

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from mnistbench.schema.component import is_reference
from mnistbench.schema.config import RunConfig
from mnistbench.workload.muon import MuonAdamW
from mnistbench.workload.own_components import own_optimizer


def build_optimizer(
    model: nn.Module, config: RunConfig, *, fused: bool | None = None
) -> torch.optim.Optimizer:
    """The optimizer named by ``config.optimizer`` over all parameters of `model`.

    `fused` has sgd, adam and adamw update all weights in one kernel; ``None`` is torch's choice.

    Build it once the model is on its device. Its learning rate starts at ``config.lr``; `set_lr`
    follows a schedule.
    """
    if is_reference(config.optimizer):
        return own_optimizer(model, config)
    kind = torch.optim.Optimizer  # whose wrapper imports torch's compiler, to tell it to stay out
    with patch.object(kind, "add_param_group", unwrap(kind.add_param_group)):
        return OPTIMIZERS[config.optimizer](model, config, fused)


@torch.no_grad()
def step_and_clear(optimizer: torch.optim.Optimizer) -> None:
    """Update the weights by their gradients with one of `OPTIMIZERS`, and let go of these.

    Without torch's wrappers of ``step`` and ``zero_grad``, for profiles and hooks: the first call
    of these imports torch's compiler, which takes a second.
    """
    unwrap(type(optimizer).step)(optimizer)
    for group in optimizer.param_groups:
        for weight in group["params"]:
            weight.grad = None


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all groups; one with an ``lr_scale`` has that multiple of `lr`.

    A rate that is a tensor stays the same tensor.
    """
    for group in optimizer.param_groups:
        rate = lr * group.get("lr_scale", 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


_Builder = Callable[[nn.Module, RunConfig, bool | None], torch.optim.Optimizer]


def _shared(model: nn.Module, config: RunConfig) -> dict[str, Any]:
    """What all of torch's optimizers are given."""
    weights = model.parameters()
    return {"params": weights, "lr": config.lr, "weight_decay": config.weight_decay}


def _sgd(model: nn.Module, config: RunConfig, fused: bool | None) -> torch.optim.Optimizer:
    """Stochastic gradient descent with (Nesterov) momentum; weight decay in the gradient."""
    momentum, nesterov = config.momentum, config.nesterov
    return torch.optim.SGD(
        **_shared(model, config), momentum=momentum, nesterov=nesterov, fused=fused
    )


def _adam(model: nn.Module, config: RunConfig, fused: bool | None) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015), weight decay in the gradient."""
    betas = (config.beta1, config.beta2)
    return torch.optim.Adam(**_shared(model, config), betas=betas, fused=fused)


def _adamw(model: nn.Module, config: RunConfig, fused: bool | None) -> torch.optim.Optimizer:
    """Adam with weight decay beside the gradient (Loshchilov and Hutter 2019)."""
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(**_shared(model, config), betas=betas, fused=fused)


def _adadelta(model: nn.Module, config: RunConfig, _fused: bool | None) -> torch.optim.Optimizer:
    """Adadelta (Zeiler 2012) with torch's rho 0.9 and eps 1e-6."""
    return torch.optim.Adadelta(**_shared(model, config))


def _rmsprop(model: nn.Module, config: RunConfig, _fused: bool | None) -> torch.optim.Optimizer:
    """RMSprop (Hinton 2012, Coursera lecture 6e) with momentum and torch's alpha 0.99."""
    return torch.optim.RMSprop(**_shared(model, config), momentum=config.momentum)


OPTIMIZERS: dict[str, _Builder] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
    "adadelta": _adadelta,
    "rmsprop": _rmsprop,
    "muon": lambda model, config, _fused: MuonAdamW(model, config),
}
"""Every optimizer by the name that a user types; each takes the model, the config and `fused`."""
