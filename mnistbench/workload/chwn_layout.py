"""Plain networks run with the batch innermost in memory, by the kernels of this package.

A small network on a CPU spends its time in convolutions of one to some thirty channels, too few to
fill a vector register. Features laid out ``[C, H, W, B]`` put the samples of a batch side by side
instead: kernels, pools and pointwise operations run over many neighbouring numbers. The layers
keep their weights; only the order of the arithmetic differs from torch's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from mnistbench.schema.errors import InputError
from mnistbench.workload.kernels import norm
from mnistbench.workload.kernels.operators import batch_last, convolution
from mnistbench.workload.models.residual import ResidualBlock

_Layer = Callable[[Tensor], Tensor]
_Known = dict[type[nn.Module], Callable[[Any, Tensor], Tensor] | None]

_POINTWISE = (nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU, nn.Dropout, nn.Identity)
_PLANEWISE = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.ZeroPad2d, nn.Dropout2d)


class ChwnNetwork:
    """`model` as a function of images ``[B, C, H, W]`` to logits, batch innermost.

    The weights, buffers and training mode are the model's own at each call.
    """

    def __init__(self, model: nn.Module, *, dtype: torch.dtype = torch.float32) -> None:
        """`dtype` is that of products and features: float32 or bfloat16.

        Raises:
            InputError: `model` is no plain sequence, has a layer that is not known here, or no
                convolution, without which torch's own order serves better.
        """
        if not any(isinstance(layer, nn.Conv2d) for layer in model.modules()):
            raise InputError("the network has no convolution")
        self._run, self._dtype = _sequence(model), dtype

    def __call__(self, images: Tensor) -> Tensor:
        """Logits float32 ``[B, num_classes]`` of images float32 ``[B, C, H, W]``."""
        return self._run(batch_last(images, self._dtype)).t().contiguous().float()


def _sequence(model: nn.Module) -> _Layer:
    """`model` on features ``[C, H, W, B]``, or ``[C, B]`` behind `nn.Flatten`."""
    left, made, known = _flat(model), list[_Layer](), _SPATIAL
    while left:
        layer = left.pop(0)
        if type(layer) not in known or not _is_plain(layer):
            raise InputError(f"{type(layer).__name__}({layer.extra_repr()}) has no kernel there")
        run = known[type(layer)]
        if isinstance(layer, nn.Conv2d):
            made.append(_convolution(layer, left))
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            made.append(_norm(layer, left))
        elif isinstance(layer, ResidualBlock):
            made.append(partial(_residual, _sequence(layer.body), _sequence(layer.shortcut)))
        elif run:
            made.append(partial(run, layer))
        known = _FLAT if isinstance(layer, nn.Flatten) else known
    return partial(_in_turn, made)


def _in_turn(layers: Sequence[_Layer], features: Tensor) -> Tensor:
    for layer in layers:
        features = layer(features)
    return features


def _flat(model: nn.Module) -> list[nn.Module]:
    """The layers of `model` in turn, those of sequences within it as well."""
    if isinstance(model, nn.Identity):
        return [model]
    if type(model).forward is not nn.Sequential.forward or not _is_untouched(model):
        raise InputError(f"{type(model).__name__} is no plain sequence of layers")
    layers: list[nn.Module] = []
    for layer in cast("nn.Sequential", model):
        layers += _flat(layer) if isinstance(layer, nn.Sequential) else [layer]
    return layers


def _is_untouched(layer: nn.Module) -> bool:
    """Whether a call of `layer` is its class's ``forward``, without hooks."""
    own_call = "forward" in vars(layer) or type(layer).__call__ is not nn.Module.__call__
    passes = "forward", "forward_pre", "backward", "backward_pre"
    hooked = any(getattr(layer, f"_{name}_hooks") for name in passes)
    return not own_call and not hooked


def _is_plain(layer: nn.Module) -> bool:
    """Whether `layer` asks for nothing beyond what the functions below do."""
    if isinstance(layer, nn.Conv2d):
        usual = layer.dilation == (1, 1) and layer.padding_mode == "zeros" and layer.groups == 1
        return usual and border(layer) is not None and _is_untouched(layer)
    if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) != (1, -1):
        return False
    in_place = getattr(layer, "inplace", False) and not isinstance(layer, nn.ReLU)
    gives_more = getattr(layer, "return_indices", False)
    return not in_place and not gives_more and _is_untouched(layer)


def border(layer: nn.Conv2d) -> tuple[int, int] | None:
    """Zeros on each side, down and across; none where they are uneven."""
    if not isinstance(layer.padding, str):
        return cast("tuple[int, int]", layer.padding)
    (height, width), same = layer.kernel_size, layer.padding == "same"
    if same and not (height % 2 and width % 2):
        return None
    return (height // 2, width // 2) if same else (0, 0)


def _convolution(layer: nn.Conv2d, left: list[nn.Module]) -> _Layer:
    """`layer`, with what follows it and is taken from `left`: 1 x 1 convolutions, or pool and ReLU.

    A kernel of one pixel right behind a convolution makes one linear map with it, whose weights are
    the product of theirs: that is made where it saves work, since it is made anew at each step.
    """
    mixing: list[nn.Conv2d] = []
    while left and _is_mixing(left[0], [layer, *mixing][-1]):
        mixing.append(cast("nn.Conv2d", left.pop(0)))
    pool, relu = 1, 0
    while left and _is_untouched(left[0]):
        if pool == 1 and _halves(left[0]):
            pool = 2
        elif not relu and type(left[0]) is nn.ReLU:
            relu = 1
        else:
            break
        left.pop(0)
    how = [*layer.stride, *(border(layer) or ()), pool, relu]
    return partial(_convolve, layer, mixing, how)


def _is_mixing(layer: nn.Module, before: nn.Conv2d) -> bool:
    """Whether `layer` only mixes the channels that `before` gives, into no more of them."""
    if type(layer) is not nn.Conv2d or not _is_plain(layer):
        return False
    single = layer.kernel_size == layer.stride == (1, 1) and border(layer) == (0, 0)
    return single and layer.out_channels <= before.out_channels


def _halves(layer: nn.Module) -> bool:
    if type(layer) is not nn.MaxPool2d or layer.ceil_mode or layer.return_indices:
        return False
    sides = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return [{side} if isinstance(side, int) else {*side} for side in sides] == [{2}, {2}, {0}, {1}]


def _convolve(
    layer: nn.Conv2d, mixing: Sequence[nn.Conv2d], how: list[int], features: Tensor
) -> Tensor:
    weight, bias = layer.weight, layer.bias
    for after in mixing:
        matrix = after.weight.flatten(1)
        weight = (matrix @ weight.flatten(1)).view(-1, *weight.shape[1:])
        mixed = None if bias is None else matrix @ bias
        bias = mixed if after.bias is None else after.bias if mixed is None else after.bias + mixed
    return convolution(features, weight, bias, how)


def _residual(body: _Layer, shortcut: _Layer, features: Tensor) -> Tensor:
    return (body(features) + shortcut(features)).relu()


def _itself(layer: nn.Module, features: Tensor) -> Tensor:
    made: Tensor = layer(features)
    return made


def _linear(layer: nn.Linear, features: Tensor) -> Tensor:
    weight = layer.weight.to(features.dtype)
    if layer.bias is None:
        return weight @ features
    return torch.addmm(layer.bias.to(features.dtype)[:, None], weight, features)


def _on_planes(layer: nn.Module, features: Tensor) -> Tensor:
    """A layer that takes each plane by itself: the channels serve it as samples, and back."""
    made: Tensor = layer(features.permute(0, 3, 1, 2))  # to torch, channels last
    return made.permute(0, 2, 3, 1)


def _norm(layer: nn.Module, left: list[nn.Module]) -> _Layer:
    """`layer`, with the ReLU that follows it, which is taken from `left`."""
    has_relu = bool(left) and type(left[0]) is nn.ReLU and _is_untouched(left[0])
    if has_relu:
        left.pop(0)
    return partial(_batch_norm, layer, has_relu)


def _batch_norm(layer: nn.Module, has_relu: bool, features: Tensor) -> Tensor:
    """Over all but the channels; by torch as of one sample, in whose row the batch lies."""
    if norm.knows(layer, features):
        return norm.batch_norm(layer, features, relu=has_relu)
    row = features[None] if features.ndim == 2 else features[None].flatten(3)
    made: Tensor = layer(row).view(features.shape)
    return made.relu() if has_relu else made


_BOTH: _Known = {
    **dict.fromkeys(_POINTWISE, _itself),
    nn.ReLU: lambda _layer, features: features.relu(),
    nn.Flatten: lambda _layer, features: features.reshape(-1, features.size(-1)),
}
_SPATIAL: _Known = _BOTH | {
    **dict.fromkeys(_PLANEWISE, _on_planes),
    nn.Conv2d: None,  # as `_sequence` makes them
    ResidualBlock: None,
    nn.BatchNorm2d: None,
}
"""What each layer does to features ``[C, H, W, B]``."""
_FLAT: _Known = _BOTH | {nn.Linear: _linear, nn.BatchNorm1d: None}
"""What each does to features ``[C, B]``, behind `nn.Flatten`."""
