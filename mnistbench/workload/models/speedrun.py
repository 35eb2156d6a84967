"""The network of the speed records: the fewest operations that still reach 99 %."""

from __future__ import annotations

from torch import nn

from mnistbench.schema.config import RunConfig
from mnistbench.workload.models.shapes import NUM_CLASSES, flattened_size

__all__ = ["build_speedrun_cnn"]

_WIDTH = 128


def build_speedrun_cnn(_: RunConfig) -> nn.Module:
    """Two convolutions of stride 2 and two linear layers, batch norm between; 109,210 parameters.

    ``[B, 1, 28, 28]`` to ``[B, 10]``. Strides instead of pools leave a quarter of the work; batch
    norm comes without a gain, which the ReLU and the next layer make idle.
    """
    features = [
        nn.Conv2d(1, 16, 6, stride=2, bias=False),
        _without_gain(nn.BatchNorm2d(16)),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, bias=False),
        _without_gain(nn.BatchNorm2d(32)),
        nn.ReLU(),
    ]
    size = flattened_size(features, model="speedrun-cnn")
    return nn.Sequential(
        *features,
        nn.Flatten(),
        nn.Linear(size, _WIDTH, bias=False),
        _without_gain(nn.BatchNorm1d(_WIDTH)),
        nn.ReLU(),
        nn.Linear(_WIDTH, NUM_CLASSES),
    )


def _without_gain(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    norm.weight.requires_grad_(False)
    return norm
