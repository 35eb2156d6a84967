"""Work that leaves no trace: in a network, in its optimizer, in generators of random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mnistbench.engine.python_state import held_tensors

__all__ = ["device_rng_state", "preserved_rng", "set_device_rng_state", "unchanged", "zero_state"]


@contextmanager
def unchanged(model: nn.Module, loss_fn: object, *, device: torch.device) -> Iterator[None]:
    """Put back weights, buffers, other tensors held, gradients and random states."""
    held = (*model.parameters(), *model.buffers(), *held_tensors(model, loss_fn))
    tensors = list({id(tensor): tensor for tensor in held}.values())
    before = [tensor.detach().clone() for tensor in tensors]
    with preserved_rng(device):
        yield
    with torch.no_grad():
        for tensor, value in zip(tensors, before, strict=True):
            tensor.copy_(value)
    for weight in model.parameters():
        weight.grad = None


@torch.no_grad()
def zero_state(optimizer: torch.optim.Optimizer) -> None:
    """Have the state of `optimizer` as it begins, where that is zeros, in place."""
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                value.zero_()


def device_rng_state(device: torch.device) -> Tensor | None:
    """The state of `device`'s own generator, uint8 on the CPU; none of the CPU itself."""
    if device.type == "cpu":
        return None
    state: Tensor = torch.get_device_module(device).get_rng_state(device)
    return state


def set_device_rng_state(state: Tensor | None, device: torch.device) -> None:
    """Set what `device_rng_state` gave."""
    if state is not None:
        torch.get_device_module(device).set_rng_state(state, device)


@contextmanager
def preserved_rng(device: torch.device) -> Iterator[None]:
    """Leave the generators of the CPU and of `device` as they were, whatever is drawn inside."""
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices, device_type=device.type):
        yield
