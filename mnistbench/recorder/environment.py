"""What the figures of a run depend on: software, hardware, threads, launcher, code version."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from mnistbench.recorder.code_identity import running_code
from mnistbench.recorder.launcher import asked_threads, this_launch
from mnistbench.recorder.limits import SHARED_CORES, memory_bytes, usable_cores
from mnistbench.schema.errors import first_line

if TYPE_CHECKING:
    import torch

process = "fresh"
"""How this process began: ``warm`` once it is a fork of one that has imported what runs need."""

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""Variables by which a user says how threads wait for each other."""


def set_threads(num_threads: int | None) -> int:
    """Set torch's CPU threads for this process and return them.

    `num_threads`, else what the user's ``OMP_NUM_THREADS`` asks for, else all usable cores divided
    over the local processes.
    """
    import torch

    divided = max(1, usable_cores() // this_launch().local_world_size)
    torch.set_num_threads(num_threads or asked_threads() or divided)
    return torch.get_num_threads()


def device_name(device: torch.device) -> str:
    """The model of `device`, such as ``NVIDIA H200`` or the processor's name."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return _cpu_name() if device.type == "cpu" else device.type


def describe_environment(device: torch.device) -> dict[str, Any]:
    """The environment of a record of ours; what cannot be found out is ``None``."""
    versions, code = running_code()
    return {"versions": versions, "process": process, **describe_machine(device), **code}


def describe_machine(device: torch.device | None) -> dict[str, Any]:
    """Hardware, threads and launcher, without a word on the code; no `device` is not known."""
    launch = this_launch()
    return {
        "platform": platform.platform(),
        "device_type": device and device.type,
        "device_name": device and device_name(device),
        **_cuda(device),
        "cpu_name": _cpu_name(),
        "num_cores": os.cpu_count(),
        "num_usable_cores": usable_cores(),
        "num_threads": _num_threads(),
        "threads_wait": " ".join(f"{n}={os.environ[n]}" for n in _WAITING if os.environ.get(n))
        or None,
        "memory_bytes": memory_bytes(),
        "load_average_1min": psutil.getloadavg()[0],
        # what a sweep that runs several side by side tells its children
        "measured_alone": os.environ.get(SHARED_CORES) != "1",
        "launcher": launch.started_by,
        "num_machines": launch.num_machines,
        "restarts": launch.restarts,
        "world_size": launch.world_size,
    }


def _cuda(device: torch.device | None) -> dict[str, Any]:
    if device is None or device.type != "cuda":
        return dict.fromkeys(("driver", "cuda", "cudnn"))
    import torch

    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    told = Path("/proc/driver/nvidia/version")
    driver = first_line(told.read_text()) or None if told.exists() else None
    return {"driver": driver, "cuda": torch.version.cuda, "cudnn": cudnn}


def _num_threads() -> int | None:
    """Those of torch where it is loaded, else what the user asks libraries for."""
    if "torch" not in sys.modules:
        return asked_threads()
    import torch

    return torch.get_num_threads()


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
