"""The networks of the two articles that the first recipes reproduce.

The first, LeafLight's "CNN Practice Workflow" (2022), compares a network of four convolutions with
one of linear layers alone; the second, "Construct A Simple CNN for Solving MNIST Image
Classification with PyTorch" (2023), builds the smallest network here that has a convolution.
Numbers of parameters are for images ``[B, 1, 28, 28]`` and ten classes.
"""

from __future__ import annotations

from torch import nn

from mnistbench.schema.component import DataShape
from mnistbench.schema.config import RunConfig
from mnistbench.workload.models.dense import with_classifier


def build_cnn4(_: RunConfig, shape: DataShape) -> nn.Module:
    """The first article's CNN4: four convolutions, four linear layers; 675,549 parameters.

    As published, nothing stands between the convolutions, so together they are one linear map of
    the image: all that bends is in the linear layers' ReLUs.
    """
    features = [
        nn.Conv2d(shape.channels, 6, 3, padding=1),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.Conv2d(6, 6, 1),
        nn.Conv2d(6, 1, 1),
    ]
    return with_classifier(shape, features, 500, 400, 200)


def build_dnn4(_: RunConfig, shape: DataShape) -> nn.Module:
    """The four linear layers that the first article compares CNN4 with; 675,110 parameters.

    The article prints no code for them; these are CNN4's own linear layers, so that the two
    networks differ by the convolutions and nothing else.
    """
    return with_classifier(shape, [], 500, 400, 200)


def build_dnn5(_: RunConfig, shape: DataShape) -> nn.Module:
    """Five linear layers, 512-256-128-64-10 units, with ReLU between them; 575,050 parameters.

    The second article sets out from such a network, which sees an image as a plain list of pixels;
    it prints no sizes.
    """
    return with_classifier(shape, [], 512, 256, 128, 64)


def build_cnn2(_: RunConfig, shape: DataShape) -> nn.Module:
    """Two convolutions and two linear layers with ReLU and max pooling; 52,138 parameters.

    The smallest layout in the first article's plan, which names no sizes: 16 channels of 7x7 hand
    the linear layers 784 values, as many as CNN4 hands its own.
    """
    features = [
        nn.Conv2d(shape.channels, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
    return with_classifier(shape, features, 64)


def build_simple_cnn(_: RunConfig, shape: DataShape) -> nn.Module:
    """The second article's network: two 5x5 convolutions, one linear layer; 8,490 parameters.

    It pools before the ReLU: max and ReLU may change places without changing a value, and this
    order leaves ReLU a quarter of the work.
    """
    features = [
        nn.Conv2d(shape.channels, 10, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(10, 20, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
    ]
    return with_classifier(shape, features)
