"""Plain networks run with the batch innermost in memory, convolutions as matrix products.

A small network on a CPU spends its time in convolutions of one to thirty channels, too few to fill
a vector register. Features laid out ``[C, H, W, B]`` put the samples of a batch side by side
instead: every pointwise operation, pool and copy runs over hundreds of neighbouring numbers, and a
convolution is one product of its kernels ``[out, in * kh * kw]`` with the patches they see
``[in * kh * kw, H' * W' * B]``, whose result has that layout again. The layers keep their weights;
only the order of the arithmetic differs from torch's own.

Meant to be compiled: run eagerly, each step is a pass over memory of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from mnistbench.schema.errors import InputError


class ChwnNetwork:
    """`model` as a function of images ``[B, C, H, W]`` to logits, batch innermost.

    The weights, buffers and training mode are the model's own at each call.
    """

    def __init__(self, model: nn.Module, *, dtype: torch.dtype = torch.float32) -> None:
        """`dtype` is that of the matrix products; all else is float32.

        Raises:
            InputError: `model` is no plain sequence, or has a layer that is not known here.
        """
        self._layers = _plain_layers(model)
        self._dtype = dtype

    def __call__(self, images: Tensor) -> Tensor:
        """Logits float32 ``[B, num_classes]`` of images float32 ``[B, C, H, W]``."""
        features = images.to(self._dtype).permute(1, 2, 3, 0).contiguous()
        for layer in self._layers:
            features = _FORWARD[type(layer)](layer, features, self._dtype)
        return features.t().float()


def _plain_layers(model: nn.Module) -> list[nn.Module]:
    if type(model).forward is not nn.Sequential.forward:
        raise InputError(
            f"batch_last: {type(model).__name__} is no plain sequence of layers; "
            "use --no-batch-last"
        )
    layers: list[nn.Module] = []
    for layer in model.children():
        if isinstance(layer, nn.Sequential):
            layers += _plain_layers(layer)
            continue
        if type(layer) not in _FORWARD or not _is_plain(layer):
            what = f"{type(layer).__name__}({layer.extra_repr()})"
            raise InputError(f"batch_last: cannot run {what}; use --no-batch-last")
        layers.append(layer)
    return layers


_USUAL_POOL = {"dilation": 1, "return_indices": False, "divisor_override": None}


def _is_plain(layer: nn.Module) -> bool:
    """Whether `layer` asks for nothing beyond what the functions below do."""
    if isinstance(layer, nn.Conv2d):
        square = layer.stride[0] == layer.stride[1] and layer.dilation == (1, 1)
        zeros = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        return square and zeros and layer.groups == 1
    if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        whole = _pair(layer.padding) == (0, 0) and not layer.ceil_mode
        usual = all(getattr(layer, name, value) == value for name, value in _USUAL_POOL.items())
        return whole and usual and _pair(layer.kernel_size) == _pair(layer.stride)
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        return layer.momentum is not None and layer.track_running_stats
    if isinstance(layer, nn.Flatten):
        return (layer.start_dim, layer.end_dim) == (1, -1)
    return True


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


class _Convolve(torch.autograd.Function):
    """Kernels over an image without border: features ``[C, H, W, B]`` to ``[O, H', W', B]``."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, kernels: Tensor, stride: int) -> Tensor:
        ctx.shape, ctx.stride = features.shape, stride
        patches = _patches(features, kernels.shape[2:], stride)
        matrix = kernels.flatten(1).to(features.dtype)
        ctx.save_for_backward(patches, matrix)
        ctx.kernels = kernels.shape
        rows = (features.size(1) - kernels.size(2)) // stride + 1
        return (matrix @ patches).view(kernels.size(0), rows, -1, features.size(3))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None]:
        patches, matrix = ctx.saved_tensors
        grad_matrix = grad.reshape(grad.size(0), -1).to(matrix.dtype)
        grad_kernels = (grad_matrix @ patches.t()).float().view(ctx.kernels)
        if not ctx.needs_input_grad[0]:
            return None, grad_kernels, None
        grad_patches = (matrix.t() @ grad_matrix).view(*ctx.kernels[1:], *grad.shape[1:])
        return _overlapped(grad_patches, ctx.shape, ctx.stride), grad_kernels, None


def _patches(features: Tensor, kernel: torch.Size, stride: int) -> Tensor:
    """What each place of a kernel sees, ``[C * kh * kw, H' * W' * B]``; `features` contiguous."""
    channels, height, width, batch = features.shape
    rows, columns = ((s - k) // stride + 1 for s, k in zip((height, width), kernel, strict=True))
    seen = features.as_strided(
        (channels, *kernel, rows, columns, batch),
        (height * width * batch, width * batch, batch, stride * width * batch, stride * batch, 1),
    )
    copied = seen.contiguous()
    # not a view: that would have inductor copy along flat indices, dividing for every element
    size = (channels * kernel[0] * kernel[1], rows * columns * batch)
    return copied.as_strided(size, (size[1], 1))


def _overlapped(grad_patches: Tensor, shape: torch.Size, stride: int) -> Tensor:
    """Sum of the gradients ``[C, kh, kw, H', W', B]`` of patches where they overlap, in `shape`.

    With a stride, every s-th row and column is summed on its own, and then they are interleaved:
    so that nothing is scattered, and compiled it is one pass.
    """
    channels, height, width, batch = shape
    rows, columns = -(-height // stride), -(-width // stride)

    def phase(row: int, column: int) -> Tensor:
        _, kh, kw, out_rows, out_columns, _ = grad_patches.shape
        total = grad_patches.new_zeros((), dtype=torch.float32)
        for i in range(row, kh, stride):
            for j in range(column, kw, stride):
                top, left = i // stride, j // stride
                border = (left, columns - out_columns - left, top, rows - out_rows - top)
                part = grad_patches[:, i, j].float()
                total = total + functional.pad(part, (0, 0, *border))
        return total.expand(channels, rows, columns, batch)

    if stride == 1:
        return phase(0, 0)
    lines = [torch.stack([phase(r, c) for c in range(stride)], dim=3) for r in range(stride)]
    whole = torch.stack(lines, dim=2).view(channels, rows * stride, columns * stride, batch)
    return whole[:, :height, :width]


class _MaxPool(torch.autograd.Function):
    """The largest of each ``k * l`` window; its gradient goes to the first, as torch's does."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, kernel: tuple[int, int]) -> Tensor:
        windows = _windows(features, kernel)
        largest = windows[0]
        for window in windows[1:]:
            largest = torch.maximum(largest, window)
        ctx.save_for_backward(features, largest)
        ctx.kernel = kernel
        return largest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        features, largest = ctx.saved_tensors
        given = torch.zeros_like(largest, dtype=torch.bool)
        parts = []
        for window in _windows(features, ctx.kernel):
            chosen = (window == largest) & ~given
            given = given | chosen
            parts.append(torch.where(chosen, grad, 0.0))
        kh, kw = ctx.kernel
        lines = [torch.stack(parts[kw * r : kw * r + kw], dim=3) for r in range(kh)]
        channels, rows, columns, batch = largest.shape
        whole = torch.stack(lines, dim=2).view(channels, rows * kh, columns * kw, batch)
        lost = (0, 0, 0, features.size(2) - columns * kw, 0, features.size(1) - rows * kh)
        return functional.pad(whole, lost), None


def _windows(features: Tensor, kernel: tuple[int, int]) -> list[Tensor]:
    """Each place of a pool's window, over all windows: ``kh * kw`` of ``[C, H', W', B]``."""
    (kh, kw), (channels, height, width, batch) = kernel, features.shape
    rows, columns = height // kh, width // kw
    whole = features[:, : rows * kh, : columns * kw]
    split = whole.reshape(channels, rows, kh, columns, kw, batch)
    return [split[:, :, i, :, j] for i in range(kh) for j in range(kw)]


_Dtype = torch.dtype


def _conv(layer: nn.Conv2d, features: Tensor, dtype: _Dtype) -> Tensor:
    down, across = _pair(cast("Any", layer.padding))
    if down or across:
        features = functional.pad(features, (0, 0, across, across, down, down))
    features = features.to(dtype).contiguous()
    made = cast("Tensor", _Convolve.apply(features, layer.weight, layer.stride[0])).float()
    return made if layer.bias is None else made + layer.bias[:, None, None, None]


def _linear(layer: nn.Linear, features: Tensor, dtype: _Dtype) -> Tensor:
    made = (layer.weight.to(dtype) @ features.to(dtype)).float()
    return made if layer.bias is None else made + layer.bias[:, None]


def _max_pool(layer: nn.MaxPool2d, features: Tensor, _: _Dtype) -> Tensor:
    return cast("Tensor", _MaxPool.apply(features, _pair(layer.kernel_size)))


def _average_pool(layer: nn.AvgPool2d, features: Tensor, _: _Dtype) -> Tensor:
    windows = _windows(features, _pair(layer.kernel_size))
    return torch.stack(windows).mean(dim=0)


def _batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d, features: Tensor, _: _Dtype) -> Tensor:
    """Batch norm (Ioffe and Szegedy 2015) over all but the channels, as torch's own does it."""
    over = tuple(range(1, features.ndim))
    each = (-1, *(1 for _ in over))
    if layer.training:
        mean = features.mean(over)
        centred = features - mean.view(each)
        variance = centred.square().mean(over)
        _track(layer, mean.detach(), variance.detach(), features[0].numel())
    else:
        mean, variance = cast("Tensor", layer.running_mean), cast("Tensor", layer.running_var)
        centred = features - mean.view(each)
    scale = torch.rsqrt(variance + layer.eps)
    if layer.weight is not None:
        scale = scale * layer.weight
    made = centred * scale.view(each)
    return made if layer.bias is None else made + layer.bias.view(each)


def _track(layer: Any, mean: Tensor, variance: Tensor, count: int) -> None:
    """Move the running statistics; `count` values per channel made `variance`."""
    with torch.no_grad():
        layer.running_mean.lerp_(mean, layer.momentum)
        layer.running_var.lerp_(variance * (count / (count - 1)), layer.momentum)
        layer.num_batches_tracked.add_(1)


_FORWARD: dict[type[nn.Module], Callable[[Any, Tensor, _Dtype], Tensor]] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.ReLU: lambda _layer, features, _dtype: features.relu(),
    nn.Tanh: lambda _layer, features, _dtype: features.tanh(),
    nn.Dropout: lambda layer, features, _dtype: layer(features),
    nn.Identity: lambda _layer, features, _dtype: features,
    nn.Flatten: lambda _layer, features, _dtype: features.reshape(-1, features.size(-1)),
    nn.ZeroPad2d: lambda layer, features, _dtype: functional.pad(features, (0, 0, *layer.padding)),
}
"""What each layer does to features ``[C, H, W, B]``, or ``[C, B]`` behind `nn.Flatten`."""
