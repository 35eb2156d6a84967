"""What will really run: decided once, from the configuration, the device and the processes.

Model, optimizer, step, diagnosis, MLPerf lines and the record all read the plan; nothing else works
out again what it says. Where a step cannot be compiled or captured, it has another plan (`eager`);
what was seen to run is in `mnistbench.engine.observed`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from mnistbench.schema.component import is_reference
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError

ExecutionMode = Literal["graph", "compiled", "eager", "stock"]
"""How a step is run: replayed from a CUDA graph, compiled as one, call by call, by Accelerate."""

MemoryFormat = Literal["channels_last", "contiguous", "chwn"]
GradientExchange = Literal["none", "all-reduce", "pairwise", "ddp", "fsdp"]

_AUTOCAST = {"no": "float32", "bf16": "bfloat16", "fp16": "float16", "fp8": "float8"}
_FUSED = frozenset({"sgd", "adam", "adamw"})
_COMPONENTS = ("model", "loss", "optimizer")
_FIRST_WITH_TF32 = (8, 0)
"""Compute capability of NVIDIA's Ampere."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a plan is made for; `is_sharded` is FSDP's: processes share the weights out."""

    device: torch.device
    num_processes: int = 1
    mixed_precision: str = "no"
    is_sharded: bool = False


@dataclass(frozen=True, kw_only=True)
class ExecutionPlan:
    """How a run computes.

    Attributes:
        fallback_reason: why `mode` is less than the configuration has by default, if so.
        compile: compile the step, or the stock loop's model.
        is_explicit: `mode` or `compile` was asked for: where it cannot be had, the run ends.
        autocast_dtype: what layers multiply in: ``float32``, ``bfloat16``, ``float16``, ``float8``.
        kernels: whose convolutions run; this package's own have the batch innermost.
        kernels_reason: why they are torch's, if own ones were to be had.
        channels_last: torch's convolutions and their weights have the channels innermost.
        fused_optimizer: update all weights in one kernel; ``None`` is torch's own choice.
        own: which of ``model``, ``loss`` and ``optimizer`` the user brought. What they keep is not
            known; an optimizer's update is neither compiled nor captured.
        matmul_precision: torch's ``float32_matmul_precision``, for convolutions as well.
        deterministic: kernels with one order of additions only.
        gradient_exchange: how processes come to the same gradients.
    """

    mode: ExecutionMode
    fallback_reason: str | None
    compile: bool
    is_explicit: bool
    autocast_dtype: str
    uses_grad_scaler: bool
    kernels: Literal["own", "torch"]
    kernels_reason: str | None = None
    channels_last: bool
    fused_optimizer: bool | None
    own: frozenset[str]
    steps_per_graph: int
    matmul_precision: Literal["highest", "high", "medium"]
    deterministic: bool
    gradient_exchange: GradientExchange

    @property
    def memory_format(self) -> MemoryFormat:
        """That of the features; ``chwn`` has the batch innermost."""
        if self.kernels == "own":
            return "chwn"
        return "channels_last" if self.channels_last else "contiguous"

    @property
    def exchange_has_time(self) -> bool:
        """Whether it can be timed: DDP makes it while it computes, a graph within."""
        return self.gradient_exchange in {"all-reduce", "pairwise"} and self.mode != "graph"

    @property
    def dtype(self) -> torch.dtype:
        """Of autocast, which has no fp8: layers that are not in fp8 compute in bf16."""
        dtype: torch.dtype = getattr(torch, self.autocast_dtype, torch.bfloat16)
        return dtype

    @property
    def loop(self) -> Literal["fast", "stock"]:
        """The training loop."""
        return "stock" if self.mode == "stock" else "fast"


def resolve_plan(config: RunConfig, hardware: Hardware) -> ExecutionPlan:
    """The plan of a run of `config` on `hardware`; the same on every process.

    Raises:
        InputError: something that was asked for explicitly cannot be had there.
    """
    _check_tf32(config, hardware.device)
    if config.exact_parity and config.eval_shift_share < 1 and hardware.num_processes > 1:
        raise InputError("eval_shift_share: depends on the processes; use 1 with --exact-parity")
    why_stock = _why_stock(hardware)
    # what changes results or was asked for, and what the stock loop does not have
    asked = {name: getattr(config, name) for name in ("exact_parity", "cuda_graph", "batch_last")}
    for name in asked if why_stock and config.loop == "fast" else ():
        if asked[name]:
            raise InputError(f"{name}: needs the fast loop, but {why_stock}; leave it out")
    stock = config.loop == "stock" or why_stock is not None
    mode, reason = ("stock", None) if stock else _fast_mode(config, hardware)
    fused = mode != "stock" and config.fused_optimizer and config.optimizer in _FUSED
    channels_last = config.channels_last and not hardware.is_sharded
    return ExecutionPlan(
        mode=mode,
        fallback_reason=why_stock if config.loop == "fast" and stock else reason,
        compile=mode == "compiled" or (stock and bool(config.compile)),
        is_explicit=bool(config.compile or config.cuda_graph),
        autocast_dtype=_AUTOCAST[hardware.mixed_precision],
        uses_grad_scaler=hardware.mixed_precision == "fp16",
        kernels="own" if not stock and _wants_kernels(config, hardware.device) else "torch",
        channels_last=channels_last,
        fused_optimizer=True if fused else None,
        own=frozenset(name for name in _COMPONENTS if is_reference(getattr(config, name))),
        steps_per_graph=config.steps_per_graph if mode == "graph" else 1,
        matmul_precision=config.matmul_precision,
        deterministic=config.exact_parity and hardware.device.type != "cpu",
        gradient_exchange=_gradient_exchange(config, hardware, stock=stock),
    )


def eager(plan: ExecutionPlan, reason: str) -> ExecutionPlan:
    """`plan` for a step that is run call by call instead, because of `reason`."""
    said = f"{plan.mode}: {reason}"
    return replace(plan, mode="eager", compile=False, steps_per_graph=1, fallback_reason=said)


def _why_stock(hardware: Hardware) -> str | None:
    """Why the fast loop cannot be had, if so."""
    if hardware.mixed_precision in {"fp16", "fp8"}:
        return f"{hardware.mixed_precision} needs Accelerate's own backward and optimizer"
    if hardware.is_sharded:
        return "FSDP holds a share of the weights on each process"
    return None


def _wants_kernels(config: RunConfig, device: torch.device) -> bool:
    """Whether own kernels are to be had, if the network is one for them."""
    if config.batch_last and device.type != "cpu":
        raise InputError(
            f"batch_last: its kernels are for CPUs, and this runs on {device.type}; leave it out"
        )
    unasked = config.batch_last is None and not config.exact_parity
    return device.type == "cpu" and (bool(config.batch_last) or unasked)


def _fast_mode(config: RunConfig, hardware: Hardware) -> tuple[ExecutionMode, str | None]:
    """The mode to try: a graph on CUDA, and where it is asked for, a compiled step."""
    on_cuda = hardware.device.type == "cuda"
    if config.cuda_graph:
        if config.compile:
            raise InputError("cuda_graph: cannot be had with --compile; leave one of them out")
        if not on_cuda:
            raise InputError(
                f"cuda_graph: needs an NVIDIA GPU, and this runs on {hardware.device.type}; "
                "leave it out"
            )
    if on_cuda and config.cuda_graph is not False and not config.compile:
        why_not = _why_no_graph(config)
        if why_not and config.cuda_graph:
            raise InputError(f"cuda_graph: {why_not}; leave it out or use another --optimizer")
        return ("eager", f"graph: {why_not}") if why_not else ("graph", None)
    return ("compiled" if config.compile else "eager"), None


def _why_no_graph(config: RunConfig) -> str | None:
    """What of the optimizer waits for the device in each step, if anything does."""
    if is_reference(config.optimizer):
        return "an optimizer of your own may read its learning rate on the host"
    if config.optimizer == "muon":
        return "torch's Muon reads its learning rate on the host"
    if config.optimizer == "sgd" and not config.fused_optimizer:
        return "torch's unfused SGD reads its learning rate on the host"
    return None


def _gradient_exchange(config: RunConfig, hardware: Hardware, *, stock: bool) -> GradientExchange:
    if hardware.is_sharded:
        return "fsdp"
    if hardware.num_processes == 1:
        return "none"
    if stock:
        return "ddp"
    return "pairwise" if config.exact_parity else "all-reduce"


def _check_tf32(config: RunConfig, device: torch.device) -> None:
    if config.matmul_precision == "highest" or device.type != "cuda" or torch.version.hip:
        return
    capability = torch.cuda.get_device_capability(device)
    if capability < _FIRST_WITH_TF32:
        raise InputError(
            f"matmul_precision: {config.matmul_precision} needs TF32, which this GPU (compute "
            f"capability {capability[0]}.{capability[1]}) does not have; use highest"
        )
