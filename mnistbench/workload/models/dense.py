"""The linear half that the networks share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from torch import nn

from mnistbench.workload.models.shapes import NUM_CLASSES, flattened_size

__all__ = ["dense_layers", "with_classifier"]


def dense_layers(sizes: Sequence[int]) -> list[nn.Module]:
    """Linear layers from ``sizes[0]`` to ``sizes[-1]`` values, ReLU between them, none at the end.

    They take ``[B, sizes[0]]`` and return ``[B, sizes[-1]]``.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return layers[:-1]


def with_classifier(features: Iterable[nn.Module], *hidden: int, model: str) -> nn.Sequential:
    """`features`, flattened, then linear layers of `hidden` widths and one to the logits.

    The whole takes ``[B, 1, 28, 28]`` and returns ``[B, 10]``.

    Raises:
        InputError: a kernel or a pool in `features` is larger than its padded input.
        TypeError: `features` holds a layer whose output shape is not known.
    """
    features = list(features)
    inputs = flattened_size(features, model=model)
    return nn.Sequential(*features, nn.Flatten(), *dense_layers([inputs, *hidden, NUM_CLASSES]))
