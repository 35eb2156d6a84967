"""Work on a network that leaves no trace in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mnistbench.engine.random_state import preserved_rng

__all__ = ["unchanged"]


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
