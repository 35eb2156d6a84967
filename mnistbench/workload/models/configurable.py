"""Model ``cnn``: two to four convolutions and two to four linear layers, as the user asks."""

from __future__ import annotations

from torch import nn

from mnistbench.schema.component import DataShape
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.workload.models.dense import with_classifier

HALVINGS = 2
"""Convolutions, counted from the first, that halve the image: 28, 14, 7, which has no half."""

HIDDEN_WIDTH = 128
"""Outputs of each linear layer but the last."""

MAX_WEIGHTS = 2**30
"""Most weights of one convolution: 4 GiB as float32, beyond which no user can mean it."""


def build_cnn(config: RunConfig, shape: DataShape) -> nn.Module:
    """A network from the ``cnn`` fields of `config`.

    Each convolution is followed by batch norm if asked for (its own bias then left out), ReLU and,
    for the first `HALVINGS`, a 2x2 pool; with ``pooling="stride"`` these two convolutions have a
    stride of 2 instead. ``padding="same"`` gives ceil(side / stride) whatever the kernel. Dropout
    stands before each hidden linear layer, and is left out at 0.

    Raises:
        InputError: as `check_cnn`.
    """
    check_cnn(config, shape)
    hidden = [HIDDEN_WIDTH] * (config.linear_layers - 1)
    features = _features(config, shape.channels)
    return with_classifier(shape, features, *hidden, dropout=config.dropout)


def check_cnn(config: RunConfig, shape: DataShape) -> None:
    """Refuse sizes that cannot work, before they take memory.

    Raises:
        InputError: a convolution's kernel, or the pool after it, is larger than its input, or it
            has more than `MAX_WEIGHTS` weights; one line that names the convolution.
    """
    kernel, side, inputs = config.kernel_size, min(shape.height, shape.width), shape.channels
    for index in range(config.conv_layers):
        outputs = config.channels * 2**index
        weights = inputs * outputs * kernel**2
        if weights > MAX_WEIGHTS:
            raise InputError(
                f"channels: convolution {index + 1} of cnn has {weights:,} weights, more than "
                f"{MAX_WEIGHTS:,}; use fewer --channels or a smaller --kernel-size"
            )
        padded = side + (kernel - 1 if config.padding == "same" else 0)
        side, inputs = padded - kernel + 1, outputs
        if index < HALVINGS:  # a stride keeps what a last, partial window of a pool loses
            side = (side + 1) // 2 if config.pooling == "stride" else side // 2
        if side < 1:
            raise InputError(
                f"kernel_size: convolution {index + 1} of cnn has a {kernel}x{kernel} kernel, "
                f"which leaves it or its pool nothing of a padded input of {padded}x{padded}; "
                "use a smaller --kernel-size or --padding same"
            )


def _features(config: RunConfig, inputs: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for index in range(config.conv_layers):
        outputs = config.channels * 2**index
        layers += _block(config, inputs, outputs, halves=index < HALVINGS)
        inputs = outputs
    return layers


def _block(config: RunConfig, inputs: int, outputs: int, *, halves: bool) -> list[nn.Module]:
    """One convolution with what follows it, up to its pool."""
    stride = 2 if halves and config.pooling == "stride" else 1
    layers = _convolution(config, inputs, outputs, stride=stride)
    if config.batch_norm:
        layers.append(nn.BatchNorm2d(outputs))
    layers.append(nn.ReLU())
    if halves and config.pooling != "stride":
        layers.append(nn.MaxPool2d(2) if config.pooling == "max" else nn.AvgPool2d(2))
    return layers


def _convolution(config: RunConfig, inputs: int, outputs: int, *, stride: int) -> list[nn.Module]:
    """The convolution, behind its border where that is uneven.

    Torch's own ``padding="same"`` allows no stride, and warns of each even kernel.
    """
    kernel, bias = config.kernel_size, not config.batch_norm
    before, after = (kernel - 1) // 2, kernel // 2
    if config.padding == "valid":
        return [nn.Conv2d(inputs, outputs, kernel, stride, bias=bias)]
    if before == after:
        return [nn.Conv2d(inputs, outputs, kernel, stride, padding=before, bias=bias)]
    border = nn.ZeroPad2d((before, after, before, after))
    return [border, nn.Conv2d(inputs, outputs, kernel, stride, bias=bias)]
