"""The linear half that the networks share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import nn

__all__ = ["IMAGE_SHAPE", "NUM_CLASSES", "dense_layers", "flattened_size", "with_classifier"]

IMAGE_SHAPE = (1, 28, 28)
"""Shape of one image of every data set: channels, rows [pixels], columns [pixels]."""

NUM_CLASSES = 10
"""Logits per image."""


def dense_layers(sizes: Sequence[int]) -> list[nn.Module]:
    """Linear layers from ``sizes[0]`` to ``sizes[-1]`` values, ReLU between them, none at the end.

    They take ``[B, sizes[0]]`` and return ``[B, sizes[-1]]``.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return layers[:-1]


def flattened_size(layers: Iterable[nn.Module]) -> int:
    """Features per image [values] that `layers` leave for linear layers, by a forward of zeros."""
    features = nn.Sequential(*layers).eval()  # so that no statistics move and nothing is drawn
    with torch.no_grad():
        flat: torch.Tensor = features(torch.zeros(1, *IMAGE_SHAPE))
    features.train()
    return flat.numel()


def with_classifier(features: Sequence[nn.Module], *hidden: int) -> nn.Sequential:
    """`features`, flattened, then linear layers of `hidden` widths and one to the logits.

    The whole takes ``[B, 1, 28, 28]`` and returns ``[B, 10]``.
    """
    sizes = [flattened_size(features), *hidden, NUM_CLASSES]
    return nn.Sequential(*features, nn.Flatten(), *dense_layers(sizes))
