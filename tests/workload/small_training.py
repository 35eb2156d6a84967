"""A network small enough to train in a test, and gradients that depend on the step only."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn, optim
from torch.nn import functional


def small_net(seed: int = 0) -> nn.Sequential:
    """A convolution, a norm, a hidden and a last linear layer, for 8 x 8 images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(2, 4, 3),
            nn.GroupNorm(2, 4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4 * 6 * 6, 16),
            nn.ReLU(),
            nn.Linear(16, 10),
        )


def put_gradients(model: nn.Module, step: int) -> None:
    """The gradients of a cross-entropy on random images that depend on `step` only."""
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(6, 2, 8, 8, generator=generator)
    labels = torch.randint(10, (6,), generator=generator)
    model.zero_grad()
    functional.cross_entropy(model(images), labels).backward()


def train(model: nn.Module, optimizer: optim.Optimizer, steps: Iterable[int]) -> None:
    for step in steps:
        put_gradients(model, step)
        optimizer.step()


def assert_same_weights(model: nn.Module, other: nn.Module) -> None:
    for (name, ours), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
