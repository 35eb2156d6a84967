"""The networks, one registry.

All take float images ``[B, C, H, W]`` and return logits ``[B, num_classes]``, never normalised:
that is the loss's part. Sizes follow from the data's shape. Their weights are PyTorch's default
draws from its global generator, so a seed set before `build_model` decides them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import nn

from mnistbench.schema.component import DataShape, is_reference
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.workload.models import articles, classics, configurable, residual, speedrun
from mnistbench.workload.own_components import own_model

MODELS: dict[str, Callable[[RunConfig, DataShape], nn.Module]] = {
    "cnn4": articles.build_cnn4,
    "simple-cnn": articles.build_simple_cnn,
    "dnn4": articles.build_dnn4,
    "dnn5": articles.build_dnn5,
    "cnn2": articles.build_cnn2,
    "cnn": configurable.build_cnn,
    "lenet5": classics.build_lenet5,
    "resnet-mini": residual.build_resnet_mini,
    "mlp": classics.build_mlp,
    "linear": classics.build_linear,
    "example-cnn": classics.build_example_cnn,
    "fast-cnn": classics.build_fast_cnn,
    "speedrun-cnn": speedrun.build_speedrun_cnn,
}
"""Name on the command line -> what builds that network for the data's shape."""

_LARGEST_SIDE = 257  # beyond which no size is looked for [pixels]


def check_model(config: RunConfig, shape: DataShape) -> None:
    """Raise, without memory or random draws, what `build_model` does of a built-in network."""
    if config.model in MODELS:
        with torch.device("meta"):
            build_model(config, shape)


def build_model(config: RunConfig, shape: DataShape) -> nn.Module:
    """The network that ``config.model`` names, on the default device, in training mode.

    It takes float images ``[B, C, H, W]`` of `shape` and returns logits ``[B, num_classes]``.

    Raises:
        InputError: the images are too small for it, or the sizes asked for do not fit them; or
            as `own_model`.
    """
    if is_reference(config.model):
        return own_model(config, shape)
    build = MODELS[config.model]
    try:
        return build(config, shape)
    except RuntimeError:
        smallest = min(shape.height, shape.width)
        for side in range(smallest, _LARGEST_SIDE):
            with suppress(RuntimeError), torch.device("meta"):
                build(config, shape._replace(height=side, width=side))
                break
        else:
            raise
        if side == smallest:  # which is not for its size
            raise
        raise InputError(
            f"model: {config.model} needs images of at least {side} × {side} pixels; "
            f"these are {shape.height} × {shape.width}"
        ) from None
