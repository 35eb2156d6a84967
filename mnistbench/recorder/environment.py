"""What the figures of a run depend on: software, hardware, threads, launcher, code version."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import psutil
import torch

from mnistbench.recorder.code_identity import running_code
from mnistbench.recorder.cores import SHARED_CORES, usable_cores
from mnistbench.schema.errors import first_line

__all__ = [
    "describe_environment",
    "device_name",
    "launcher",
    "local_world_size",
    "num_machines",
    "set_threads",
]


def local_world_size() -> int:
    """Processes of this run on this machine, as the launcher says; 1 without one."""
    return max(1, _whole("LOCAL_WORLD_SIZE", 1))


def num_machines() -> int | None:
    """Machines of this run, as its launcher says; ``None`` for several processes without one."""
    if _whole("WORLD_SIZE", 1) == 1:
        return 1
    return _whole("GROUP_WORLD_SIZE", _whole("SLURM_STEP_NUM_NODES", 0)) or None


def set_threads(num_threads: int | None) -> int:
    """Set torch's CPU threads for this process and return them.

    Launchers set ``OMP_NUM_THREADS=1`` on their own, so under a launcher it says nothing about
    what the user wants: there, and where it is not set, all usable cores are divided over the
    local processes. `num_threads` beats both.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if num_threads is None:
        if launcher() == "python" and asked.isdigit() and int(asked) > 0:
            num_threads = int(asked)
        else:
            num_threads = max(1, usable_cores() // local_world_size())
    torch.set_num_threads(num_threads)
    return torch.get_num_threads()


def launcher() -> str:
    """What started this process: ``accelerate``, ``torchrun`` or ``python``."""
    if "ACCELERATE_MIXED_PRECISION" in os.environ:
        return "accelerate"
    return "torchrun" if "TORCHELASTIC_RUN_ID" in os.environ else "python"


def device_name(device: torch.device) -> str:
    """The model of `device`, such as ``NVIDIA H200`` or the processor's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_name() if device.type == "cpu" else device.type


def describe_environment(device: torch.device) -> dict[str, Any]:
    """The environment of a record; what cannot be found out is ``None``."""
    versions, code = running_code()
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
        "memory_bytes": psutil.virtual_memory().total,
        "load_average_1min": psutil.getloadavg()[0],
        # what a sweep that runs several side by side tells its children
        "measured_alone": os.environ.get(SHARED_CORES) != "1",
        "launcher": launcher(),
        "num_machines": num_machines(),
        "restarts": _whole("TORCHELASTIC_RESTART_COUNT", 0),
        "world_size": _whole("WORLD_SIZE", 1),
        **code,
    }


def _whole(variable: str, otherwise: int) -> int:
    value = os.environ.get(variable, "")
    return int(value) if value.isdigit() else otherwise


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
