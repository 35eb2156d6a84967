"""What ``--profile`` asks for, as hooks: traces of operators, memory, Python's stack, NVTX ranges.

All of them watch the same steps. What is torch's own, through Accelerate, is here; the others are
in `mnistbench.recorder.profilers`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import ProfileKwargs

from mnistbench.recorder.hooks import RunView
from mnistbench.recorder.profilers import (
    CudaMemory,
    NvtxRanges,
    PythonSampling,
    StepsHook,
    write_trace,
)
from mnistbench.recorder.redaction import redacted
from mnistbench.recorder.trace_file import exported, memory_timeline, without_names
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.insight import OperatorTime

__all__ = ["OperatorTrace", "check_profile", "profile_hooks", "profiled_steps"]

_MOST_OPERATORS = 30


def profiled_steps(config: RunConfig, num_steps: int) -> range:
    """The steps that ``config.profile`` watches of a run of `num_steps`; empty without it.

    Raises:
        InputError: the run ends before they do.
    """
    if not config.profile:
        return range(0)
    by_operator = not {"torch", "memory"}.isdisjoint(config.profile)
    default = "5:10" if by_operator else f"{max(num_steps // 2, 1)}:{max(num_steps, 2)}"
    first, end = map(int, (config.profile_steps or default).split(":"))
    if end > num_steps:
        raise InputError(
            f"profile_steps: {first}:{end} needs a run of {end} steps, this one has {num_steps}; "
            "make it longer or profile earlier ones"
        )
    return range(first, end)


def check_profile(config: RunConfig, device: torch.device) -> None:
    """Check that what ``config.profile`` needs is there.

    Raises:
        InputError: a library is missing, the device has no NVTX, or two exclude each other.
    """
    kinds, on_cuda = set(config.profile), device.type == "cuda"
    if "sampling" in config.profile and importlib.util.find_spec("pyinstrument") is None:
        raise InputError(
            "profile: sampling needs pyinstrument; pip install 'mnistbench[profile]', or leave it"
        )
    if "nvtx" in kinds and not on_cuda:
        raise InputError("profile: nvtx needs an NVIDIA GPU; here torch, memory, sampling work")
    if "nvtx" in kinds and kinds & {"torch", "memory"}:
        raise InputError("profile: nvtx watches operators as torch and memory do; choose one")
    if kinds and on_cuda and config.steps_per_graph > 1:
        raise InputError("profile: steps in one graph are one; use --steps-per-graph 1")
    if config.anonymize and ("sampling" in kinds or ("memory" in kinds and on_cuda)):
        kind = "sampling" if "sampling" in kinds else "memory"
        raise InputError(
            f"profile: {kind} names files of this machine; leave it or --anonymize out"
        )


def profile_hooks(config: RunConfig, accelerator: Accelerator, *, steps: range) -> list[StepsHook]:
    """The hooks that ``config.profile`` names, to watch `steps`."""
    hooks: list[StepsHook] = []
    if not {"torch", "memory"}.isdisjoint(config.profile):
        hooks.append(OperatorTrace(steps, accelerator))
    if "memory" in config.profile and accelerator.device.type == "cuda":
        hooks.append(CudaMemory(steps))
    if "sampling" in config.profile:
        hooks.append(PythonSampling(steps))
    if "nvtx" in config.profile:
        hooks.append(NvtxRanges(steps))
    return hooks


class OperatorTrace(StepsHook):
    """torch's profiler, through Accelerate: a Chrome trace, and what each operator took.

    TensorBoard's plugin and Perfetto open the trace. With ``memory``, the allocations in it become
    a timeline.

    Attributes:
        operators: what took longest, once the steps have been made.
    """

    lead_steps = 1  # the profiler's first step is slower than others

    def __init__(self, steps: range, accelerator: Accelerator) -> None:
        """As `StepsHook`."""
        super().__init__(steps)
        self.operators: list[OperatorTime] = []
        self._accelerator = accelerator
        self._kind = "device" if accelerator.device.type == "cuda" else "cpu"  # in torch's words
        self._profiler: Any = None

    @contextmanager
    def watch(self, watched: RunView) -> Iterator[None]:
        """Have torch's profiler record, and keep what it found."""
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else it tells of each start, and of no GPU
        details = {*watched.config.profile_details, *watched.config.profile}
        kwargs = ProfileKwargs(
            activities=["cpu", "cuda"] if self._kind == "device" else ["cpu"],
            schedule_option={"wait": 0, "warmup": 1, "active": len(self.steps), "repeat": 1},
            on_trace_ready=lambda profiler: self._keep(profiler, watched),
            record_shapes="shapes" in details,
            profile_memory="memory" in details,
            with_stack="stacks" in details,
            with_flops="flops" in details,
        )
        with self._accelerator.profile(kwargs) as self._profiler:
            yield

    def after_step(self) -> None:
        """Tell torch's profiler that a step is over."""
        self._profiler.step()

    def _keep(self, profiler: Any, watched: RunView) -> None:
        averages, by_time = profiler.key_averages(), f"self_{self._kind}_time_total"
        self.operators = _operators(averages, kind=self._kind)
        table = averages.table(by_time, row_limit=_MOST_OPERATORS, max_name_column_width=60)
        trace, kinds = exported(profiler.export_chrome_trace), watched.config.profile
        if watched.config.anonymize:
            trace, table = without_names(trace), redacted(table)
        if "torch" in kinds:
            write_trace(watched, f"{time.time_ns()}.pt.trace.json", json.dumps(trace))
        if "memory" in kinds:
            write_trace(watched, "memory.csv", memory_timeline(trace))
        write_trace(watched, "operators.txt", table)


def _operators(averages: Any, *, kind: str) -> list[OperatorTime]:
    """The operators that took longest by themselves, the longest first."""
    own = sorted(
        # a kernel's time is its operator's too, and an annotation's that of what is inside
        (e for e in averages if e.device_type.name == "CPU" and not e.is_user_annotation),
        key=attrgetter(f"self_{kind}_time_total"),
        reverse=True,
    )
    return [
        OperatorTime(
            name=event.key[:300],
            calls=event.count,
            cpu_s=max(event.self_cpu_time_total, 0.0) * 1e-6,
            device_s=max(event.self_device_time_total, 0.0) * 1e-6 if kind == "device" else None,
            memory_bytes=getattr(event, f"self_{kind}_memory_usage"),
            flops=event.flops or None,
        )
        for event in own[:_MOST_OPERATORS]
    ]
