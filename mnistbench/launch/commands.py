"""What children are started with: a command of several processes, and the code they are to run."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from secrets import token_hex

from mnistbench.recorder.launcher import this_launch
from mnistbench.recorder.loop_settings import OUTPUT_DIR, SEED

_GPU_FILES = ("/dev/nvidia0", "/dev/kfd", "/dev/dxg")
_LOOPBACK = "127.0.0.1"


def torchrun_command(module: str, arguments: Sequence[str], *, num_processes: int) -> list[str]:
    """``torchrun`` for `num_processes` processes of ``python -m module`` on this machine.

    It meets on a free port of its own, so that two runs on one machine do not collide. As with
    ``--standalone``, which waits for ever where nobody knows this machine's own name.
    """
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={_LOOPBACK}:0",
        f"--rdzv-id={token_hex(8)}",
        f"--local-addr={_LOOPBACK}",
        f"--nproc-per-node={num_processes}",
        "-m",
        module,
        *arguments,
    ]


def child_environment(package_root: Path | None = None) -> dict[str, str]:
    """This environment, for a Python that is to import what this process imports.

    ``python -m`` looks first in the current folder, which may hold another checkout, or a module
    named as a library's. Children, and theirs, look in what precedes the standard library on this
    process's path instead, or in `package_root` and the user's ``PYTHONPATH``. Where its records
    go, and its seed, are told by flags.
    """
    if package_root is None:
        library = sysconfig.get_path("stdlib")
        first = [_entry(part) for part in takewhile(lambda part: part != library, sys.path)]
    else:
        first = [str(package_root.absolute()), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(filter(None, first))
    usual = {name: value for name, value in os.environ.items() if name not in {OUTPUT_DIR, SEED}}
    return usual | {"PYTHONSAFEPATH": "1", "PYTHONPATH": path}


def _entry(part: str) -> str:
    """An entry of ``sys.path`` for children, which work in this folder; "" is this folder."""
    whole = os.path.abspath(part)  # noqa: PTH100
    return os.path.relpath(whole) if os.pathsep in whole else whole


def cpu_environment() -> Mapping[str, str]:
    """`child_environment`, with Accelerate told to make one group of several CPU processes."""
    return child_environment() | {"ACCELERATE_USE_CPU": "true"}


def device_environment() -> Mapping[str, str]:
    """`child_environment`, or `cpu_environment` where there is no GPU and nothing was told."""
    if "ACCELERATE_USE_CPU" in os.environ or uses_gpu(os.environ):
        return child_environment()
    return cpu_environment()


def uses_gpu(environment: Mapping[str, str]) -> bool:
    """Whether a run with these variables would find a GPU, as far as it shows without torch."""
    hidden = environment.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}
    is_there = any(Path(file).exists() for file in _GPU_FILES)
    return is_there and not hidden and not this_launch(environment).use_cpu
