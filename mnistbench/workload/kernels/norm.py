"""Batch norm and the ReLU behind it as PyTorch operators, for features with the batch innermost."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mnistbench.workload.kernels.operators import call, pointers

_library: Any = torch.library.Library("mnistbench", "FRAGMENT")  # type: ignore[no-untyped-call]
_library.define(
    "batch_last_norm(Tensor features, Tensor? gain, Tensor? bias, Tensor(a!) mean,"
    " Tensor(b!) variance, float[] how) -> (Tensor, Tensor, Tensor)"
)
_library.define(
    "batch_last_norm_backward(Tensor grad, Tensor features, Tensor? gain, Tensor? bias,"
    " Tensor centre, Tensor scale, float[] how) -> (Tensor, Tensor, Tensor)"
)
_forward_op = torch.ops.mnistbench.batch_last_norm.default
_backward_op = torch.ops.mnistbench.batch_last_norm_backward.default


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
    made: Tensor = _forward_op(features, layer.weight, layer.bias, *buffers, how)[0]
    return made


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
    grad, features, (*held, how) = grad.contiguous(), features.contiguous(), rest
    grads = _empty_grads(grad, features, *rest)
    call("norm_backward", features.dtype, 9)(
        _shape(features, how), *pointers(features, *held, grad, *grads)
    )
    return grads


def _empty_grads(_: Tensor, features: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    each = rest[2]
    return torch.empty_like(features), torch.empty_like(each), torch.empty_like(each)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, ...]:
        features, gain, bias, *_, how = given
        with torch._C._AutoDispatchBelowAutograd():  # noqa: SLF001 - the operator itself
            made, centre, scale = _forward_op(*given)
        ctx.mark_non_differentiable(centre, scale)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(features, gain, bias, centre, scale)
        ctx.how = how
        return made, centre, scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 6
        made = _backward_op(grad, *ctx.saved_tensors, ctx.how)
        return (
            *(g if need else None for g, need in zip(made, ctx.needs_input_grad, strict=False)),
            None,
            None,
            None,
        )


_library.impl("batch_last_norm", _forward, "CPU")
_library.impl("batch_last_norm", _Norm.apply, "AutogradCPU")
_library.impl("batch_last_norm_backward", _backward, "CPU")
torch.library.register_fake("mnistbench::batch_last_norm", _empty, lib=_library)
torch.library.register_fake("mnistbench::batch_last_norm_backward", _empty_grads, lib=_library)
