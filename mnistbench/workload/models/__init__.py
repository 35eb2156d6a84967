"""The networks, one registry.

All take float images ``[B, 1, 28, 28]`` and return logits ``[B, 10]``, never normalised: that is
the loss's part. Their weights are PyTorch's default draws from its global generator, so a seed
set before `build_model` decides them.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from mnistbench.schema.component import DataShape, is_reference
from mnistbench.schema.config import RunConfig
from mnistbench.workload.models import articles, classics, configurable, residual, speedrun
from mnistbench.workload.own_components import own_model

__all__ = ["MODELS", "build_model", "check_model"]

MODELS: dict[str, Callable[[RunConfig], nn.Module]] = {
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
"""Name on the command line -> what builds that network from a run's configuration."""

_MNIST = DataShape(1, 28, 28, 10)


def check_model(config: RunConfig) -> None:
    """Find out, before any work, whether the network of `config` can be built.

    Raises:
        InputError: as `build_model`.
    """
    if config.model == "cnn":  # no other has sizes that may not fit
        configurable.check_cnn(config)


def build_model(config: RunConfig, shape: DataShape = _MNIST) -> nn.Module:
    """The network that ``config.model`` names, on the default device, in training mode.

    It takes float images ``[B, 1, 28, 28]`` and returns logits ``[B, 10]``.

    Raises:
        InputError: the sizes asked for do not fit the image; one line that says which layer.
    """
    return own_model(config, shape) if is_reference(config.model) else MODELS[config.model](config)
