"""What a piece of work does: floating-point operations and memory traffic, operator by operator."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from mnistbench.schema.insight import Ceilings

CACHED_BYTES = 2**22
"""Operators that touch less are taken to find it in the cache."""

_NOTHING = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")


class Operation(NamedTuple):
    """One call of an operator: its floating-point operations, and bytes read plus written."""

    name: str
    flops: int
    traffic_bytes: int


def count_ops(work: Callable[[], object]) -> list[Operation]:
    """Do `work` and list the operators that it calls, backward passes included, views excluded.

    Operations are by torch's own formulas: matrix products and convolutions, a multiplication and
    an addition counting as two. Traffic is as if nothing were fused.
    """
    counter = _Counter()
    with counter:
        work()
    return counter.operations


def roofline_s(operations: Sequence[Operation], ceilings: Ceilings) -> tuple[float, float]:
    """The least time of those bound by arithmetic and of those bound by memory [seconds].

    An operator is bound by its arithmetic at the one ceiling or its traffic at the other.
    """
    arithmetic_s, traffic_s = 0.0, 0.0
    for operation in operations:
        in_cache = operation.traffic_bytes < CACHED_BYTES
        bandwidth = ceilings.cached_copy_bytes_per_s if in_cache else ceilings.copy_bytes_per_s
        calculating_s = operation.flops / ceilings.matmul_flops_per_s
        moving_s = operation.traffic_bytes / bandwidth
        if calculating_s >= moving_s:
            arithmetic_s += calculating_s
        else:
            traffic_s += moving_s
    return arithmetic_s, traffic_s


class _Counter(TorchDispatchMode):
    """Notes each operator that reaches the device's own code."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        out = func(*args, **given)
        packet = func.overloadpacket
        if not func.is_view and packet.__name__ not in _NOTHING:
            # what is changed in place is both an input and an output
            tensors = [t for t in tree_leaves((args, given, out)) if isinstance(t, Tensor)]
            count = flop_registry.get(packet) or _OWN.get(packet.__name__)
            self.operations.append(
                Operation(
                    name=str(packet),
                    flops=int(count(*args, **given, out_val=out)) if count else 0,
                    traffic_bytes=sum(map(_bytes, tensors)),
                )
            )
        return out


def _convolution_flops(features: Tensor, weight: Tensor, how: Sequence[int]) -> int:
    """Of our own kernels: features ``[C, H, W, B]``; `how` begins with strides and paddings."""
    _, height, width, batch = features.shape
    rows = (height + 2 * how[2] - weight.size(2)) // how[0] + 1
    columns = (width + 2 * how[3] - weight.size(3)) // how[1] + 1
    return 2 * weight.numel() * rows * columns * batch


_OWN: Mapping[str, Callable[..., int]] = {
    "batch_last_convolution": lambda x, w, _, how, **__: _convolution_flops(x, w, how),
    "batch_last_convolution_backward": lambda _, x, w, *rest, **__: (
        _convolution_flops(x, w, rest[2]) * (1 + bool(rest[3]))
    ),
}


def _bytes(tensor: Tensor) -> int:
    """What it holds, repeated parts counted once."""
    if not tensor.numel():
        return 0
    strides = zip(tensor.shape, tensor.stride(), strict=True)
    return math.prod(size for size, stride in strides if stride) * tensor.element_size()
