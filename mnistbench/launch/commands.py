"""Command lines that start a module in processes which know each other, also on the CPU."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["cpu_environment", "device_environment", "torchrun_command"]

_GPU_FILES = ("/dev/nvidia0", "/dev/kfd", "/dev/dxg")


def torchrun_command(module: str, arguments: Sequence[str], *, num_processes: int) -> list[str]:
    """``torchrun`` for `num_processes` processes of ``python -m module`` on this machine.

    It meets on a free port of its own, so that two runs on one machine do not collide.
    """
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={num_processes}",
        "-m",
        module,
        *arguments,
    ]


def cpu_environment() -> Mapping[str, str]:
    """This environment, with Accelerate told to make one group of several CPU processes."""
    return os.environ | {"ACCELERATE_USE_CPU": "true"}


def device_environment() -> Mapping[str, str]:
    """This environment, or `cpu_environment` where there is no GPU and nothing was told."""
    if "ACCELERATE_USE_CPU" in os.environ or any(Path(file).exists() for file in _GPU_FILES):
        return dict(os.environ)
    return cpu_environment()
