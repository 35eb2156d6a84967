"""Optimizer updates as functions of the gradients alone, which can be compiled with the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

__all__ = ["Update", "functional_update"]

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
        return _Adam(group, states, lr)
    if isinstance(optimizer, torch.optim.SGD):
        return _Sgd(group, states, lr)
    return None


class _Adam:
    def __init__(self, group: dict[str, Any], states: _States, lr: Tensor) -> None:
        self._weights = list(states)
        self._means = [state["exp_avg"] for state in states.values()]
        self._squares = [state["exp_avg_sq"] for state in states.values()]
        self._steps = [state["step"] for state in states.values()]
        self._lr, (self._beta1, self._beta2) = lr, group["betas"]
        keys = ("amsgrad", "weight_decay", "eps", "maximize", "decoupled_weight_decay")
        self._rest = {key: group[key] for key in keys}

    def __call__(self, grads: Sequence[Tensor]) -> None:
        adam(
            self._weights,
            list(grads),
            self._means,
            self._squares,
            [],
            self._steps,
            foreach=False,
            beta1=self._beta1,
            beta2=self._beta2,
            lr=self._lr,
            **self._rest,
        )


class _Sgd:
    def __init__(self, group: dict[str, Any], states: _States, lr: Tensor) -> None:
        self._weights, self._lr = list(states), lr
        self._buffers = [state.get("momentum_buffer") for state in states.values()]
        keys = ("weight_decay", "momentum", "dampening", "nesterov", "maximize")
        self._rest = {key: group[key] for key in keys}

    def __call__(self, grads: Sequence[Tensor]) -> None:
        sgd(self._weights, list(grads), self._buffers, foreach=False, lr=self._lr, **self._rest)
