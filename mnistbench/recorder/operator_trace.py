"""Operators of some steps by torch's profiler: a trace, a table, and the longest in the record."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from mnistbench.recorder.hooks import RunView
from mnistbench.recorder.profilers import StepsHook, write_trace
from mnistbench.recorder.redaction import redacted
from mnistbench.recorder.trace_file import exchange_s, exported, memory_timeline, without_names
from mnistbench.schema.config import RunConfig
from mnistbench.schema.insight import OperatorTime

_MOST_OPERATORS = 30


class OperatorTrace(StepsHook):
    """torch's profiler: a Chrome trace, and with ``memory`` a timeline of the allocations in it.

    `operators` are what took longest, once the steps have been made; `exchange_s` is how long
    processes exchanged in a step beside computing, if any did.
    """

    lead_steps = 1  # the profiler's first step is slower than others

    def __init__(self, steps: range, config: RunConfig, *, on_cuda: bool) -> None:
        """Watch `steps`; `config` says in what detail."""
        super().__init__(steps)
        self.operators: list[OperatorTime] = []
        self.exchange_s: float | None = None
        self._config = config
        self._kind = "device" if on_cuda else "cpu"  # in torch's words
        self._profiler: Any = None

    @contextmanager
    def watch(self, watched: RunView) -> Iterator[None]:
        """Have torch's profiler record, and keep what it found."""
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else it tells of each start, and of no GPU
        details = {*self._config.profile_details, *self._config.profile}
        cpu, cuda = ProfilerActivity.CPU, ProfilerActivity.CUDA
        with torch.profiler.profile(
            activities=[cpu, cuda] if self._kind == "device" else [cpu],
            schedule=torch.profiler.schedule(wait=0, warmup=1, active=len(self.steps), repeat=1),
            on_trace_ready=lambda profiler: self._keep(profiler, watched),
            record_shapes="shapes" in details,
            profile_memory="memory" in details,
            with_stack="stacks" in details,
            with_flops="flops" in details,
        ) as self._profiler:
            yield

    def after_step(self) -> None:
        """Tell torch's profiler that a step is over."""
        self._profiler.step()

    def _keep(self, profiler: Any, watched: RunView) -> None:
        averages, by_time = profiler.key_averages(), f"self_{self._kind}_time_total"
        self.operators = _operators(averages, kind=self._kind)
        table = averages.table(by_time, row_limit=_MOST_OPERATORS, max_name_column_width=60)
        trace, kinds = exported(profiler.export_chrome_trace), self._config.profile
        if (exchanged_s := exchange_s(trace)) is not None:
            self.exchange_s = exchanged_s / len(self.steps)
        if self._config.anonymize:
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
