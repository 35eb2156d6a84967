"""Optimizer updates as functions of the gradients alone, which can be compiled with the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

Update = Callable[[Sequence[Tensor]], None]
"""``update(grads)``: changes the weights and the optimizer's state in place."""

_States = dict[Tensor, dict[str, Tensor]]


def functional_update(optimizer: torch.optim.Optimizer, lr: Tensor) -> Update | None:
    """What ``optimizer.step()`` does, by torch's functional form, at the rate that `lr` ``[]`` has.

    Its gradients are those of all weights with ``requires_grad``, in order. The optimizer must have
    made one step, so that its state is there. None where torch has no form that can be traced.
    """
    if len(optimizer.param_groups) > 1:
        return None
    group = optimizer.param_groups[0]
    states = {weight: optimizer.state[weight] for weight in group["params"] if weight.requires_grad}
    if isinstance(optimizer, torch.optim.Adam):  # AdamW is one
        return _adam(group, states, lr)
    return _sgd(group, states, lr) if isinstance(optimizer, torch.optim.SGD) else None


def _adam(group: dict[str, Any], states: _States, lr: Tensor) -> Update:
    weights, (beta1, beta2) = list(states), group["betas"]
    names = ("exp_avg", "exp_avg_sq", "step")
    means, squares, steps = ([state[name] for state in states.values()] for name in names)
    keys = ("amsgrad", "weight_decay", "eps", "maximize", "decoupled_weight_decay")
    rest = {key: group[key] for key in keys} | {"beta1": beta1, "beta2": beta2}
    return lambda grads: adam(
        weights, list(grads), means, squares, [], steps, foreach=False, lr=lr, **rest
    )


def _sgd(group: dict[str, Any], states: _States, lr: Tensor) -> Update:
    weights, buffers = list(states), [state.get("momentum_buffer") for state in states.values()]
    keys = ("weight_decay", "momentum", "dampening", "nesterov", "maximize")
    rest = {key: group[key] for key in keys}
    return lambda grads: sgd(weights, list(grads), buffers, foreach=False, lr=lr, **rest)
