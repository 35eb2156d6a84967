"""A small residual network with batch norm.

Layout: He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2 (its networks
for small images), with fewer blocks.
"""

from __future__ import annotations

import torch
from torch import nn

from mnistbench.schema.component import DataShape
from mnistbench.schema.config import RunConfig

_STEM_CHANNELS = 16

_BLOCKS = ((16, 1), (16, 1), (32, 2), (32, 1), (64, 2))
"""Channels and stride of each block: 28x28 pixels at 16 channels, 14x14 at 32, 7x7 at 64."""


def build_resnet_mini(_: RunConfig, shape: DataShape) -> nn.Module:
    """Eleven 3x3 convolutions in a stem and five residual blocks; 100,986 parameters.

    The mean over the image stands in front of the one linear layer, which therefore has as many
    inputs as the last block has channels. Numbers are for images ``[B, 1, 28, 28]``, ten classes.
    """
    layers: list[nn.Module] = [*_normed(shape.channels, _STEM_CHANNELS), nn.ReLU()]
    inputs = _STEM_CHANNELS
    for outputs, stride in _BLOCKS:
        layers.append(ResidualBlock(inputs, outputs, stride))
        inputs = outputs
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, shape.num_classes)]
    return nn.Sequential(*layers, *head)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions added to their input: [B, inputs, H, W] to [B, outputs, H/s, W/s].

    Where the shapes differ, a 1x1 convolution brings the input to the output's.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_normed(inputs, outputs, stride=stride), nn.ReLU(), *_normed(outputs, outputs)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(*_normed(inputs, outputs, kernel=1, stride=stride))
        self.activation = nn.ReLU()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features ``[B, inputs, H, W]`` to ``[B, outputs, H / stride, W / stride]``."""
        total: torch.Tensor = self.activation(self.body(features) + self.shortcut(features))
        return total


def _normed(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size at stride 1, and batch norm; its mean makes a bias idle."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]
