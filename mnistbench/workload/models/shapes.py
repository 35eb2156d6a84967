"""Sizes through a feature extractor, worked out by arithmetic while a network is being built.

No network types in how long its flattened features are. Plain arithmetic rather than a trial
forward pass: torch's meta device takes over a second on its first use, and a pass on zeros would
not tell the user which layer was wrong, nor how to mend it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import nn

from mnistbench.schema.errors import InputError

__all__ = ["IMAGE_SHAPE", "NUM_CLASSES", "Shape", "flattened_size", "output_shape"]

Shape = tuple[int, int, int]
"""Channels, rows and columns of one image's features."""

IMAGE_SHAPE: Shape = (1, 28, 28)
"""Shape of one image of every data set: channels, rows [pixels], columns [pixels]."""

NUM_CLASSES = 10
"""Logits per image."""

_Pair = tuple[int, int]

_KEEPS_SHAPE = (nn.ReLU, nn.Tanh, nn.BatchNorm2d, nn.Dropout)

_MEND = "use a smaller --kernel-size or --padding same"


def flattened_size(layers: Iterable[nn.Module], *, model: str, images: Shape = IMAGE_SHAPE) -> int:
    """Features per image [values] that `layers` leave for the linear layers.

    Raises:
        InputError: as `output_shape`.
        TypeError: as `output_shape`.
    """
    return math.prod(output_shape(layers, model=model, images=images))


def output_shape(layers: Iterable[nn.Module], *, model: str, images: Shape = IMAGE_SHAPE) -> Shape:
    """Shape of one image's features after `layers`, whatever device these are on.

    The sizes follow the output-shape formulas of PyTorch's Conv2d and MaxPool2d pages.

    Args:
        layers: convolutions, pools, zero padding and layers that keep the shape, in order.
        model: the network's name, for the message.
        images: shape of one image before the first layer.

    Raises:
        InputError: a kernel or a pool is larger than its padded input; one line that names it.
        TypeError: the arithmetic of a layer of this kind is not known here.
    """
    shape, convolutions = images, 0
    for layer in layers:
        convolutions += isinstance(layer, nn.Conv2d)
        shape = _after(layer, shape, f"convolution {convolutions} of {model}")
    return shape


def _after(layer: nn.Module, shape: Shape, convolution: str) -> Shape:
    """`shape` after one layer; `convolution` is this convolution or the last one before."""
    channels, *sides = shape
    if isinstance(layer, nn.Conv2d):
        return (layer.out_channels, *_convolved(layer, (sides[0], sides[1]), convolution))
    if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        return (channels, *_pooled(layer, (sides[0], sides[1]), convolution))
    if isinstance(layer, nn.ZeroPad2d):
        left, right, top, bottom = layer.padding
        return (channels, sides[0] + top + bottom, sides[1] + left + right)
    if isinstance(layer, _KEEPS_SHAPE):
        return shape
    raise TypeError(f"output shape of {type(layer).__name__} is not known")


def _convolved(layer: nn.Conv2d, sides: _Pair, convolution: str) -> _Pair:
    """Rows and columns that a convolution makes of `sides`."""
    kernel = _pair(layer.kernel_size)
    if isinstance(layer.padding, str) or _pair(layer.dilation) != (1, 1):
        raise TypeError(f"output shape of {layer} is not known")
    border = _pair(layer.padding)
    padded = (sides[0] + 2 * border[0], sides[1] + 2 * border[1])
    if _too_large(kernel, padded):
        raise InputError(
            f"kernel_size: {convolution} has a {_by(kernel)} kernel but its padded input is "
            f"{_by(padded)}; {_MEND}"
        )
    return _positions(kernel, padded, _pair(layer.stride))


def _pooled(layer: nn.MaxPool2d | nn.AvgPool2d, sides: _Pair, convolution: str) -> _Pair:
    """Rows and columns that a pool makes of `sides`; what a last, partial window holds is lost."""
    window = _pair(layer.kernel_size)
    dilation = layer.dilation if isinstance(layer, nn.MaxPool2d) else 1
    if layer.ceil_mode or _pair(layer.padding) != (0, 0) or _pair(dilation) != (1, 1):
        raise TypeError(f"output shape of {layer} is not known")
    if _too_large(window, sides):
        raise InputError(
            f"kernel_size: the {_by(window)} pool after {convolution} is larger than its "
            f"{_by(sides)} input; {_MEND}"
        )
    return _positions(window, sides, _pair(layer.stride))


def _too_large(window: _Pair, sides: _Pair) -> bool:
    return window[0] > sides[0] or window[1] > sides[1]


def _positions(window: _Pair, sides: _Pair, stride: _Pair) -> _Pair:
    """Whole places a sliding window has, down and across."""
    rows = (sides[0] - window[0]) // stride[0] + 1
    return rows, (sides[1] - window[1]) // stride[1] + 1


def _pair(value: int | tuple[int, ...]) -> _Pair:
    """Torch writes one number for rows and columns alike."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _by(sides: _Pair) -> str:
    return f"{sides[0]}x{sides[1]}"
