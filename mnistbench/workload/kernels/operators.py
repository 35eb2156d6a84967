"""The kernels as PyTorch operators, which autograd, ``torch.compile`` and profilers know.

Features lie with the batch innermost, ``[C, H, W, B]``; kernels are torch's ``[O, C, kh, kw]``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from mnistbench.workload.kernels.library import has_kernel, kernel

_SUFFIX = {torch.float32: "f32", torch.float64: "f64", torch.bfloat16: "bf16"}
_POOLED = 4
"""Where `how` has the side of the pool."""

_Run = Callable[..., tuple[Tensor, ...]]

library: Any = torch.library.Library("mnistbench", "DEF")  # type: ignore[no-untyped-call]
library.define(
    "batch_last_convolution(Tensor features, Tensor weight, Tensor? bias, int[] how)"
    " -> (Tensor, Tensor)"
)
library.define(
    "batch_last_convolution_backward(Tensor grad, Tensor features, Tensor weight, Tensor made,"
    " Tensor chosen, int[] how, bool needs_features, bool needs_bias) -> (Tensor, Tensor, Tensor)"
)


def convolution(features: Tensor, weight: Tensor, bias: Tensor | None, how: list[int]) -> Tensor:
    """Convolve features ``[C, H, W, B]`` into ``[O, H', W', B]``.

    `how` is strides and paddings, down and across each, then 2 for a 2 x 2 max pool behind (else
    1), then 1 for a ReLU (else 0). Weight and bias are float32 where features are bf16.
    """
    return _convolve(features, weight, bias, how)[0]


def batch_last(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Images float32 ``[B, C, H, W]`` as `dtype`, ``[C, H, W, B]``."""
    return _made_once(_made_once(images.to(dtype)).permute(1, 2, 3, 0).contiguous())


def _made_once(tensor: Tensor) -> Tensor:
    """`tensor`, which inductor would otherwise make anew, by slower code, for each use of it."""
    return tensor.as_strided(tensor.size(), tensor.stride())


@cache
def call(name: str, dtype: torch.dtype, num_pointers: int) -> Any:
    """The C function of `name` for `dtype`, which takes a shape and that many pointers."""
    return kernel(f"{name}_{_SUFFIX[dtype]}", 1 + num_pointers)


@cache
def _shape(features: torch.Size, weight: torch.Size, *how: int) -> Any:
    """The C functions' ``ConvShape``."""
    channels, height, width, batch = features
    numbers = (batch, channels, height, width, weight[0], *weight[2:], *how)
    return (ctypes.c_int64 * len(numbers))(*numbers)


def _empty(features: Tensor, weight: Tensor, how: Sequence[int]) -> tuple[Tensor, Tensor]:
    """What the forward pass writes: features, and which of each pool's four was the largest."""
    down, across, top, left, pool, _ = how
    (_, height, width, batch), (outputs, _, kh, kw) = features.shape, weight.shape
    rows = ((height + 2 * top - kh) // down + 1) // pool
    columns = ((width + 2 * left - kw) // across + 1) // pool
    size = (outputs, rows, columns, batch)
    return features.new_empty(size), features.new_empty(size if pool > 1 else 0, dtype=torch.uint8)


def _empty_grads(features: Tensor, weight: Tensor, *needed: bool) -> tuple[Tensor, Tensor, Tensor]:
    """What the backward pass writes; no values for what is not `needed`."""
    return (
        torch.empty_like(features) if needed[0] else features.new_empty(0),
        torch.empty_like(weight),
        weight.new_empty(weight.size(0) if needed[1] else 0),
    )


def pointers(*tensors: Tensor | None) -> list[int | None]:
    """Where the C functions find `tensors`; none for one without values."""
    return [None if each is None or not each.numel() else each.data_ptr() for each in tensors]


def _is_widened(features: Tensor, how: Sequence[int]) -> bool:
    """Whether numbers rounded to bf16 are multiplied as float32: there is no kernel for them."""
    pooled = how[_POOLED] > 1
    return features.dtype == torch.bfloat16 and (pooled or not has_kernel("conv_forward_bf16"))


def _missing(features: Tensor) -> int:
    """How many samples of zeros the kernels need behind a batch, to have whole vectors of them."""
    return -features.size(-1) % (64 // features.element_size())


def _rounded(weight: Tensor) -> Tensor:
    return weight.bfloat16().float()


def _forward(
    features: Tensor, weight: Tensor, bias: Tensor | None, how: list[int]
) -> tuple[Tensor, Tensor]:
    if _is_widened(features, how):
        made, chosen = _forward(features.float(), _rounded(weight), bias, how)
        return made.to(features.dtype), chosen
    if more := _missing(features):
        made, chosen = _forward(functional.pad(features, (0, more)), weight, bias, how)
        return made[..., :-more].contiguous(), chosen[..., :-more].contiguous()
    features, weight = features.contiguous(), weight.contiguous()
    bias = None if bias is None else bias.contiguous()
    made, chosen = _empty(features, weight, how)
    shape = _shape(features.shape, weight.shape, *how)
    told = pointers(features, weight, bias, made, chosen)
    call("conv_forward", features.dtype, 5)(shape, *told)
    if features.dtype == torch.bfloat16 and how[-1]:
        made.relu_()
    return made, chosen


def _backward(grad: Tensor, features: Tensor, weight: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    made, chosen, how, *needed = rest
    if _is_widened(features, how):
        wide = grad.float(), features.float(), _rounded(weight), made.float()
        grads = _backward(*wide, chosen, how, *needed)
        return (grads[0].to(features.dtype), *grads[1:])
    if more := _missing(features):
        given = (grad, features, made, chosen)
        whole = [functional.pad(one, (0, more)) if one.numel() else one for one in given]
        grads = _backward(*whole[:2], weight, *whole[2:], how, *needed)
        return (grads[0][..., :-more].contiguous(), *grads[1:])
    if features.dtype == torch.bfloat16 and how[-1]:
        grad = torch.ops.aten.threshold_backward.default(grad, made, 0)
    grad, features, weight = grad.contiguous(), features.contiguous(), weight.contiguous()
    grads = _empty_grads(features, weight, *needed)
    shape = _shape(features.shape, weight.shape, *how)
    told = pointers(features, weight, made, chosen, grad, *grads)
    call("conv_backward", features.dtype, 8)(shape, *told)
    if features.dtype == torch.bfloat16 and needed[1]:
        torch.sum(grad, (1, 2, 3), dtype=weight.dtype, out=grads[2])
    return grads


def _shortest(tensor: Tensor, operator: _Run, function: _Run) -> _Run:
    """`operator`, or the `function` that it calls where nothing watches: 5 to 13 us less a call."""
    if torch.compiler.is_compiling() or torch.autograd.profiler._is_profiler_enabled:  # noqa: SLF001
        return operator
    is_plain = type(tensor) is Tensor and not torch._C._len_torch_dispatch_stack()  # noqa: SLF001
    return function if is_plain else operator


def _below_autograd(run: tuple[_Run, _Run], given: Sequence[Any]) -> tuple[Tensor, ...]:
    with torch._C._AutoDispatchBelowAutograd():  # noqa: SLF001 - the operator itself
        return _shortest(given[0], *run)(*given)


class _Operator(torch.autograd.Function):
    """An operator whose first three inputs and first output have gradients."""

    @staticmethod
    def forward(ctx: Any, runs: Any, saved: Any, *given: Any) -> tuple[Tensor, ...]:
        made = _below_autograd(runs[0], given)
        ctx.mark_non_differentiable(*made[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*saved(given, made))
        ctx.rest = given[-1], ctx.needs_input_grad[2], given[2] is not None
        ctx.backward_runs, ctx.num_given = runs[1], len(given)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        made: tuple[Tensor | None, ...] = None, None, None
        if grad is not None:
            made = _shortest(grad, *ctx.backward_runs)(grad, *ctx.saved_tensors, *ctx.rest)
        needs = ctx.needs_input_grad[2:5]
        grads = (one if need else None for one, need in zip(made, needs, strict=True))
        return (None, None, *grads, *(None,) * (ctx.num_given - 3))


def register(name: str, kernels: Sequence[_Run], *, fakes: Sequence[Any], saved: Any) -> _Run:
    """Give the operators `name` and ``<name>_backward`` their kernels and autograd.

    `fakes` give empty tensors like theirs; `saved` is, of inputs and outputs, what the backward is
    given behind the gradient. Then come the last input, and which of input and bias are needed.
    What is returned calls the first.
    """
    names = name, f"{name}_backward"
    for each, kernel_of, fake in zip(names, kernels, fakes, strict=True):
        library.impl(each, kernel_of, "CPU")
        torch.library.register_fake(f"mnistbench::{each}", fake, lib=library)
    ops = [getattr(torch.ops.mnistbench, each).default for each in names]
    runs = tuple(zip(ops, kernels, strict=True))

    def apply(*given: Any) -> tuple[Tensor, ...]:
        if torch.is_grad_enabled():
            made: tuple[Tensor, ...] = _Operator.apply(runs, saved, *given)
            return made
        return _below_autograd(runs[0], given)  # as within a compiled step

    library.impl(name, apply, "AutogradCPU")
    return lambda features, *given: _shortest(features, ops[0], apply)(features, *given)


_convolve = register(
    "batch_last_convolution",
    (_forward, _backward),
    fakes=(
        lambda features, weight, _, how: _empty(features, weight, how),
        lambda _, features, weight, *rest: _empty_grads(features, weight, *rest[3:]),
    ),
    # a ReLU's gradient needs what was made; without, it may be changed in place
    saved=lambda x, made: (*x[:2], made[0] if x[-1][-1] else made[0].new_empty(0), made[1]),
)
