"""The device that a loop computes on, as far as what it did there tells."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from mnistbench.recorder.clock import EventTimer, StepTimer, Timer

if TYPE_CHECKING:
    import torch

_ELSEWHERE = ("jax", "tensorflow", "cupy", "mlx")
"""Libraries that compute on devices of which nothing is known here."""


def used_device() -> torch.device | None:
    """The device that holds most memory of this process's tensors, else the CPU.

    torch is not imported for it. Without torch it is the CPU, or ``None`` where a library is
    loaded that may compute elsewhere.
    """
    if "torch" not in sys.modules:
        if any(name in sys.modules for name in _ELSEWHERE):
            return None
        return cast("torch.device", SimpleNamespace(type="cpu", index=None))
    import torch

    if used := _used_gpus():
        return torch.device("cuda", max(used, key=torch.cuda.memory_allocated))
    other = torch.accelerator.current_accelerator()
    if other is not None and other.type == "mps" and torch.mps.current_allocated_memory():
        return other
    return torch.device("cpu")


def _used_gpus() -> list[int]:
    """Those of which this process holds memory; none is touched for it."""
    import torch

    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return []
    return [i for i in range(torch.cuda.device_count()) if torch.cuda.memory_allocated(i)]


def waits_for(device: torch.device | None) -> Callable[[], None] | None:
    """What waits until all work on `device` is done, and on others of its kind that are used."""
    if device is None or device.type == "cpu":
        return None
    import torch

    if device.type != "cuda":
        return torch.accelerator.synchronize

    def wait() -> None:
        with suppress(RuntimeError):  # a device that failed tells the loop so by itself
            for index in _used_gpus():
                torch.cuda.synchronize(index)

    return wait


def step_timer(device: torch.device | None) -> Timer:
    """What times steps on `device`: by its own events where it is a GPU."""
    if device is None or device.type != "cuda":
        return StepTimer()
    import torch

    # an event is of the device on whose stream it is first recorded
    new_event = partial(torch.cuda.Event, enable_timing=True)
    return EventTimer(new_event, stream=lambda: torch.cuda.current_stream(device))
