"""Command lines that start a module in processes which know each other, also on the CPU."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

__all__ = ["cpu_environment", "torchrun_command"]


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
