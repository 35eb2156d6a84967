"""Work on a network that leaves no trace in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mnistbench.engine.random_state import preserved_rng

__all__ = ["unchanged", "zero_state"]


@contextmanager
def unchanged(model: nn.Module, *, device: torch.device) -> Iterator[None]:
    """Put back weights, buffers, gradients and random states as they were before."""
    tensors = [*model.parameters(), *model.buffers()]
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
