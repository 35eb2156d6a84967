"""What really ran: dtypes, kernels and modes, taken from operators as they reach the device.

A label of a run is checked against it before the run trains: one that it did not earn ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves

from mnistbench.engine.objective import Objective
from mnistbench.engine.plan import ExecutionPlan
from mnistbench.schema.errors import InputError

Kernels = Literal["fused", "foreach", "for-loop", "compiled"]

_OWN = "batch_last_convolution"
_PRODUCTS = frozenset(
    {
        *("addmm", "mm", "bmm", "baddbmm", "_scaled_mm", "convolution", "linear"),
        _OWN,
        *("mkldnn_convolution", "mkldnn_linear", "cudnn_convolution", "_convolution"),
    }
)
_MANTISSA = {"ieee": 23, "tf32": 10, "bf16": 7}
"""Bits after the point that a product keeps of its factors."""

_PROBE_SIDE = 64


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What the warm-up of a run saw.

    Attributes:
        layer_dtypes: types of the factors in the network's products and convolutions, by name.
        compiled: a frame was really compiled.
        cuda_graph: a captured graph was really replayed.
        fp32_matmul: what a float32 product keeps of its factors: ``ieee``, ``tf32`` or ``bf16``.
        fp32_conv: the same of a convolution.
        kernels: whose convolutions ran: ``own`` are this package's.
    """

    layer_dtypes: tuple[str, ...]
    optimizer_implementation: Kernels
    compiled: bool
    cuda_graph: bool
    fp32_matmul: str
    fp32_conv: str
    kernels: Literal["own", "torch"] = "torch"


def observe(
    objective: Objective,
    images: Tensor,
    *,
    model: nn.Module,
    kernels: Kernels,
    ran: Literal["compiled", "graph", "eager"],
) -> Observed:
    """What a warm-up saw, and what the network and fp32 do with `images` ``[b, C, H, W]``."""
    seen = _forward(objective.network, objective.preprocess.apply(images, None), model=model)
    fp32_matmul, fp32_conv = fp32_precision(images.device)
    return Observed(
        layer_dtypes=tuple(sorted(seen.product_dtypes)),
        kernels="own" if _OWN in seen.names else "torch",
        optimizer_implementation=kernels,
        compiled=ran == "compiled",
        cuda_graph=ran == "graph",
        fp32_matmul=fp32_matmul,
        fp32_conv=fp32_conv,
    )


def unearned_label(plan: ExecutionPlan, observed: Observed) -> str | InputError | None:
    """What of `plan`, as it came out, is not what ran, in one line; none if all is.

    That no layer of a network is one for fp8 is the input's fault.
    """
    kernels, fp32 = observed.optimizer_implementation, (observed.fp32_matmul, observed.fp32_conv)
    if kernels == "compiled":  # the compiler makes one kernel of an update as well
        kernels = "fused"
    layers = _layers_label(observed.layer_dtypes)
    if plan.autocast_dtype == "float8" != layers:
        return InputError(
            f"mixed_precision: no layer of this network computes in fp8 (seen: {layers}); use one "
            "with several wide linear layers, such as --model dnn5, or --mixed-precision bf16"
        )
    strict = plan.matmul_precision == "highest"
    pairs = {
        "mixed precision": (plan.autocast_dtype, layers),
        "optimizer": ("fused" if plan.fused_optimizer else kernels, kernels),
        "convolutions": (plan.kernels, observed.kernels),
        "compiled step": (plan.compile, observed.compiled),
        "CUDA graph": (plan.mode == "graph", observed.cuda_graph),
        "fp32 products": (("ieee", "ieee") if strict else fp32, fp32),
    }
    for name, (planned, seen) in pairs.items():
        if planned != seen:
            if name == "mixed precision" and "model" in plan.own:
                return InputError(
                    f"model: computes in {seen}, not in {planned}; leave the types of its layers "
                    "to --mixed-precision"
                )
            return (
                f"{name}: planned {planned}, seen {seen}: the record would be mislabelled, so "
                "nothing was trained; please report this line"
            )
    return None


def _layers_label(dtypes: Sequence[str]) -> str:
    """One name; of fp8, whose first and last layers stay in bf16, that of the others."""
    return "float8" if any(d.startswith("float8") for d in dtypes) else ", ".join(dtypes)


def _forward(
    network: Callable[[Tensor], object], images: Tensor, *, model: nn.Module
) -> ObservedOperators:
    """By what, in what types, `network` multiplies and convolves `images` ``[b, C, H, W]``.

    Taken from the operators that reach the device: autocast is seen, layers of one's own too. Those
    of Transformer Engine reach it without torch, and say it themselves in `model`.
    """
    seen = ObservedOperators()
    with torch.no_grad(), seen:
        network(images)
    if any(getattr(layer, "fp8", False) is True for layer in model.modules()):
        seen.product_dtypes.add("float8")
    return seen


def coarsest_precision(observed: Observed) -> str:
    """The coarsest numbers that the network multiplies, in MLPerf's words."""
    label = _layers_label(observed.layer_dtypes)
    if label != "float32":
        return {"float8": "fp8", "float16": "fp16"}.get(label, label)
    words = {"ieee": "fp32", "tf32": "tf32", "bf16": "bfloat16"}
    return words[min(observed.fp32_matmul, observed.fp32_conv, key=_MANTISSA.__getitem__)]


def compiled_graphs() -> int:
    """Graphs that torch has compiled in this process so far."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])  # noqa: SLF001


def fp32_precision(device: torch.device) -> tuple[str, str]:
    """What float32 products and convolutions keep of their factors on `device`, measured.

    The finest power of two that comes through whole, added to one, names the precision.
    """
    numbers = (1 + torch.exp2(-torch.arange(1, 24).double())).float().to(device)
    factor = torch.zeros(_PROBE_SIDE, _PROBE_SIDE, device=device)
    factor[0, :23] = numbers
    identity = torch.eye(_PROBE_SIDE, device=device)
    images = factor.view(1, 1, _PROBE_SIDE, _PROBE_SIDE).expand(2, 8, -1, -1).contiguous()
    kernels = torch.zeros(8, 8, 1, 1, device=device)
    kernels[range(8), range(8)] = 1.0
    with torch.no_grad():
        product = (factor @ identity)[0, :23]
        convolved = nn.functional.conv2d(images, kernels)[0, 0, 0, :23]
    return _kept(numbers, product), _kept(numbers, convolved)


def _kept(numbers: Tensor, found: Tensor) -> str:
    bits = int((found.cpu() == numbers.cpu()).sum())
    return min(_MANTISSA, key=lambda name: abs(_MANTISSA[name] - bits))


class ObservedOperators(TorchDispatchMode):
    """Inside, notes operators that reach the device, and the types of factors they multiply."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()
        self.product_dtypes: set[str] = set()

    @property
    def kernels(self) -> Kernels:
        """How an optimizer's update ran that was made inside."""
        if any(name.startswith("_fused_") for name in self.names):
            return "fused"
        foreach = any(name.startswith("_foreach_") for name in self.names)
        return "foreach" if foreach else "for-loop"

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = func.overloadpacket.__name__
        self.names.add(name)
        if name in _PRODUCTS:
            factors = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
            if any(map(is_traceable_wrapper_subclass, factors)):
                return NotImplemented  # as fp8's are: it multiplies what it is made of, seen next
            if name == _OWN:
                factors = factors[:1]  # the kernels turn weights into what features are
            matrices = [factor for factor in factors if factor.ndim > 1]
            self.product_dtypes.update(str(m.dtype).removeprefix("torch.") for m in matrices)
        return func(*args, **(kwargs or {}))
