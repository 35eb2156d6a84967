"""What the figures of a run depend on: software, hardware, threads, launcher, code version."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import psutil
import torch

from mnistbench.recorder.code_identity import running_code
from mnistbench.recorder.launcher import asked_threads, this_launch
from mnistbench.recorder.limits import SHARED_CORES, memory_bytes, usable_cores
from mnistbench.schema.errors import first_line

__all__ = ["describe_environment", "device_name", "set_threads"]


def set_threads(num_threads: int | None) -> int:
    """Set torch's CPU threads for this process and return them.

    `num_threads`, else what the user's ``OMP_NUM_THREADS`` asks for, else all usable cores divided
    over the local processes.
    """
    divided = max(1, usable_cores() // this_launch().local_world_size)
    torch.set_num_threads(num_threads or asked_threads() or divided)
    return torch.get_num_threads()


def device_name(device: torch.device) -> str:
    """The model of `device`, such as ``NVIDIA H200`` or the processor's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_name() if device.type == "cpu" else device.type


def describe_environment(device: torch.device) -> dict[str, Any]:
    """The environment of a record; what cannot be found out is ``None``."""
    versions, code = running_code()
    launch = this_launch()
    return {
        "versions": versions,
        "platform": platform.platform(),
        "device_type": device.type,
        "device_name": device_name(device),
        "driver": _driver() if device.type == "cuda" else None,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "cudnn": torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        if device.type == "cuda"
        else None,
        "cpu_name": _cpu_name(),
        "num_cores": os.cpu_count(),
        "num_usable_cores": usable_cores(),
        "num_threads": torch.get_num_threads(),
        "memory_bytes": memory_bytes(),
        "load_average_1min": psutil.getloadavg()[0],
        # what a sweep that runs several side by side tells its children
        "measured_alone": os.environ.get(SHARED_CORES) != "1",
        "launcher": launch.started_by,
        "num_machines": launch.num_machines,
        "restarts": launch.restarts,
        "world_size": launch.world_size,
        **code,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _driver() -> str | None:
    version = Path("/proc/driver/nvidia/version")
    return first_line(version.read_text()) or None if version.exists() else None
