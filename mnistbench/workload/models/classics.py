"""Networks known from elsewhere: yardsticks that a reader can place.

Numbers of parameters are for images ``[B, 1, 28, 28]`` and ten classes.
"""

from __future__ import annotations

import math

from torch import nn

from mnistbench.schema.component import DataShape
from mnistbench.schema.config import RunConfig
from mnistbench.workload.models.dense import flattened_size, with_classifier

_MLP_WIDTH = 512


def build_linear(_: RunConfig, shape: DataShape) -> nn.Module:
    """Softmax regression: one linear layer; 7,850 parameters."""
    return with_classifier(shape, [])


def build_mlp(config: RunConfig, shape: DataShape) -> nn.Module:
    """One hidden layer of 512 with ReLU; 407,050 parameters.

    ``config.dropout`` is the share of the hidden units dropped in training; at 0 there is no
    dropout layer, as an idle one would still cost time.
    """
    hidden = [nn.Linear(math.prod(shape[:3]), _MLP_WIDTH), nn.ReLU()]
    dropout = [nn.Dropout(config.dropout)] if config.dropout > 0 else []
    return nn.Sequential(nn.Flatten(), *hidden, *dropout, nn.Linear(_MLP_WIDTH, shape.num_classes))


def build_lenet5(_: RunConfig, shape: DataShape) -> nn.Module:
    """LeNet-5 with tanh and average pooling; 61,706 parameters.

    Layout: LeCun et al., "Gradient-based learning applied to document recognition", 1998. A border
    of 2 gives the 32x32 image of the paper. Simplified, as is usual: C3 sees all channels of S2,
    pools have no weights, tanh is not scaled, and the output is a linear layer instead of distances
    to drawn digits.
    """
    features = [
        nn.Conv2d(shape.channels, 6, 5, padding=2),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 120, 5),
        nn.Tanh(),
    ]
    return with_classifier(shape, features, 84, activation=nn.Tanh)


def build_example_cnn(_: RunConfig, shape: DataShape) -> nn.Module:
    """The network of PyTorch's own MNIST example; 1,199,882 parameters.

    Layers and dropout: ``mnist/main.py`` of https://github.com/pytorch/examples, whose closing
    log-softmax is left to the loss here.
    """
    features = [
        nn.Conv2d(shape.channels, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
    ]
    size = flattened_size(features, shape)
    hidden = [nn.Linear(size, 128), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*features, nn.Flatten(), *hidden, nn.Linear(128, shape.num_classes))


def build_fast_cnn(_: RunConfig, shape: DataShape) -> nn.Module:
    """Two convolutions and two linear layers, 99 % in one epoch; 215,194 parameters.

    Layers: https://github.com/tuomaso/train_mnist_fast, its final network, which has neither batch
    norm nor dropout and pools before ReLU.
    """
    features = [
        nn.Conv2d(shape.channels, 24, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(24, 32, 3),
        nn.MaxPool2d(2),
        nn.ReLU(),
    ]
    return with_classifier(shape, features, 256)
