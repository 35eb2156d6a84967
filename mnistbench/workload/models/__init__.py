"""The networks, one registry.

All take float images ``[B, 1, 28, 28]`` and return logits ``[B, 10]``, never normalised: that is
the loss's part. Their weights are PyTorch's default draws from its global generator, so a seed
set before `build_model` decides them.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from mnistbench.schema.config import RunConfig
from mnistbench.schema.names import ModelName
from mnistbench.workload.models.articles import (
    build_cnn2,
    build_cnn4,
    build_dnn4,
    build_dnn5,
    build_simple_cnn,
)
from mnistbench.workload.models.classics import (
    build_example_cnn,
    build_fast_cnn,
    build_lenet5,
    build_linear,
    build_mlp,
)
from mnistbench.workload.models.configurable import build_cnn
from mnistbench.workload.models.residual import build_resnet_mini
from mnistbench.workload.models.speedrun import build_speedrun_cnn

__all__ = ["MODELS", "build_model"]

MODELS: dict[ModelName, Callable[[RunConfig], nn.Module]] = {
    "cnn4": build_cnn4,
    "simple-cnn": build_simple_cnn,
    "dnn4": build_dnn4,
    "dnn5": build_dnn5,
    "cnn2": build_cnn2,
    "cnn": build_cnn,
    "lenet5": build_lenet5,
    "resnet-mini": build_resnet_mini,
    "mlp": build_mlp,
    "linear": build_linear,
    "example-cnn": build_example_cnn,
    "fast-cnn": build_fast_cnn,
    "speedrun-cnn": build_speedrun_cnn,
}
"""Name on the command line -> what builds that network from a run's configuration."""


def build_model(config: RunConfig) -> nn.Module:
    """The network that ``config.model`` names, on the default device, in training mode.

    It takes float images ``[B, 1, 28, 28]`` and returns logits ``[B, 10]``.

    Raises:
        InputError: the sizes asked for do not fit the image; one line that says which layer.
    """
    return MODELS[config.model](config)
