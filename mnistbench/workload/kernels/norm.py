"""Batch norm and the ReLU behind it as PyTorch operators, for features with the batch innermost."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor, nn

from mnistbench.workload.kernels.operators import call, library, pointers, register

library.define(
    "batch_last_norm(Tensor features, Tensor? gain, Tensor? bias, Tensor(a!) mean,"
    " Tensor(b!) variance, float[] how) -> (Tensor, Tensor, Tensor)"
)
library.define(
    "batch_last_norm_backward(Tensor grad, Tensor features, Tensor? gain, Tensor? bias,"
    " Tensor centre, Tensor scale, float[] how, bool needs_features, bool needs_bias)"
    " -> (Tensor, Tensor, Tensor)"
)


class _Shape(ctypes.Structure):
    """The C functions' ``NormShape``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("channels", "count", "training", "relu")),
        *((name, ctypes.c_float) for name in ("eps", "momentum")),
    )


def knows(layer: nn.Module, features: Tensor) -> bool:
    """Whether `batch_norm` does what `layer` does to `features`."""
    held: Any = layer.running_mean
    usual = layer.momentum is not None and held is not None and held.dtype == torch.float32
    known = features.dtype in {torch.float32, torch.bfloat16}
    return usual and known and features[0].numel() > 1


def batch_norm(layer: Any, features: Tensor, *, relu: bool) -> Tensor:
    """`layer` over all but the first dimension of `features`, and a ReLU if so."""
    if layer.training:
        layer.num_batches_tracked.add_(1)
    how = [float(layer.training), float(relu), layer.eps, layer.momentum]
    buffers = layer.running_mean, layer.running_var
    return _normalise(features, layer.weight, layer.bias, *buffers, how)[0]


def _shape(features: Tensor, how: list[float]) -> Any:
    sizes = features.size(0), features.numel() // features.size(0), int(how[0]), int(how[1])
    return ctypes.byref(_Shape(*sizes, *how[2:]))


def _forward(features: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    features, (*held, how) = features.contiguous(), rest
    made = _empty(features, *rest)
    call("norm_forward", features.dtype, 8)(
        _shape(features, how), *pointers(features, *held, *made[1:], made[0])
    )
    return made


def _empty(features: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return torch.empty_like(features), torch.empty_like(rest[2]), torch.empty_like(rest[2])


def _backward(grad: Tensor, features: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    grad, features, (*held, how, _, _) = grad.contiguous(), features.contiguous(), rest
    grads = _empty_grads(grad, features, *rest)
    call("norm_backward", features.dtype, 9)(
        _shape(features, how), *pointers(features, *held, grad, *grads)
    )
    return grads


def _empty_grads(_: Tensor, features: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return _empty(features, *rest)


_normalise = register(
    "batch_last_norm",
    (_forward, _backward),
    fakes=(_empty, _empty_grads),
    saved=lambda given, made: (*given[:3], *made[1:]),
)
