"""The linear half that the networks share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import nn

__all__ = ["IMAGE_SHAPE", "NUM_CLASSES", "flattened_size", "with_classifier"]

IMAGE_SHAPE = (1, 28, 28)
"""Shape of one image of every data set: channels, rows [pixels], columns [pixels]."""

NUM_CLASSES = 10
"""Logits per image."""


def flattened_size(layers: Iterable[nn.Module]) -> int:
    """Features per image [values] that `layers` leave for linear layers, by a forward of zeros."""
    features = nn.Sequential(*layers).eval()  # so that no statistics move and nothing is drawn
    with torch.no_grad():
        flat: torch.Tensor = features(torch.zeros(1, *IMAGE_SHAPE))
    features.train()
    return flat.numel()


def with_classifier(
    features: Sequence[nn.Module],
    *hidden: int,
    activation: type[nn.Module] = nn.ReLU,
    dropout: float = 0.0,
) -> nn.Sequential:
    """`features`, flattened, then linear layers of `hidden` widths and one to the logits.

    The whole takes ``[B, 1, 28, 28]`` and returns ``[B, 10]``. An `activation` follows each hidden
    layer; a `dropout` other than 0, where an idle one would cost time, stands before it.
    """
    widths = [flattened_size(features), *hidden]
    layers = [*features, nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Dropout(dropout)] if dropout > 0 else []
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], NUM_CLASSES))
