"""The network of the speed records: the fewest operations that still reach 99 %."""

from __future__ import annotations

from torch import nn

from mnistbench.schema.component import DataShape
from mnistbench.schema.config import RunConfig
from mnistbench.workload.models.dense import flattened_size

_WIDTH_PER_CHANNEL = 8


def build_speedrun_cnn(config: RunConfig, shape: DataShape) -> nn.Module:
    """Two convolutions of stride 2 and two linear layers, batch norm between; 109,050 parameters.

    ``config.channels`` is the width of the first convolution, doubled by the second; 16 gives the
    parameters above for images ``[B, 1, 28, 28]`` and ten classes. Strides instead of pools leave a
    quarter of the work; batch norm comes without a gain, which the ReLU and the next layer make
    idle.
    """
    channels = config.channels
    features = [
        nn.Conv2d(shape.channels, channels, 6, stride=2, bias=False),
        _without_gain(nn.BatchNorm2d(channels)),
        nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, stride=2, bias=False),
        _without_gain(nn.BatchNorm2d(2 * channels)),
        nn.ReLU(),
    ]
    width = _WIDTH_PER_CHANNEL * channels
    size = flattened_size(features, shape)
    return nn.Sequential(
        *features,
        nn.Flatten(),
        nn.Linear(size, width, bias=False),
        _without_gain(nn.BatchNorm1d(width)),
        nn.ReLU(),
        nn.Linear(width, shape.num_classes),
    )


def _without_gain(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    norm.register_parameter("weight", None)
    return norm
