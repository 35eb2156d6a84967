"""What launchers tell a process by variables: who started it, and which others it has to meet."""

from __future__ import annotations

import logging
import os
import reprlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from mnistbench.schema.whole_number import whole_number

_log = logging.getLogger(__name__)
LAUNCH_HINT = (
    "launch with `torchrun --nproc-per-node N -m mnistbench.train`, or set ACCELERATE_USE_CPU=true "
    "and use `accelerate launch --multi_gpu --num_processes N -m mnistbench.train`"
)
_TRUE = frozenset({"y", "yes", "t", "true", "on", "1"})  # as Accelerate reads them
_FALSE = frozenset({"n", "no", "f", "false", "off", "0", ""})
# Torch's agent and `accelerate launch` always set all of these, and people none of them: what
# people export as well, such as a precision, the CPU or a rank, does not tell a launcher.
_TORCHRUN = frozenset({"TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "ROLE_RANK"})
_ACCELERATE = frozenset(
    f"ACCELERATE_DYNAMO_{name}" for name in ("BACKEND", "MODE", "USE_FULLGRAPH", "USE_DYNAMIC")
)
_MEETING = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_OF_OTHERS = (*_MEETING, "WORLD_SIZE", "LOCAL_WORLD_SIZE")
_OF_MPI = ("OMPI_COMM_WORLD_", "MV2_COMM_WORLD_", "PMI_", "MPI_LOCAL")  # of what Accelerate reads
_MOST, _MOST_THREADS = 2**31 - 1, 4096


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What variables say of a process; one alone meets nobody, whatever others left behind.

    `started_by` is a launcher if what only that sets is set; `wrong` the first variable that cannot
    be, in one line; `num_threads` is ``OMP_NUM_THREADS``, whoever set it; `restarts` is how often
    torchrun has started all again. `rank` is of `world_size` processes, `local_rank` of those on
    this machine, `machine_rank` of the machines, whose number is ``None`` if nobody says; all meet
    at `master`, address and port.
    """

    started_by: Literal["accelerate", "torchrun", "python"]
    wrong: str | None
    num_threads: int | None
    mixed_precision: str
    use_cpu: bool
    restarts: int
    world_size: int
    rank: int
    local_rank: int
    local_world_size: int
    num_machines: int | None
    machine_rank: int
    master: tuple[str, int]


def this_launch(told: Mapping[str, str] = os.environ) -> Launch:
    """What the variables `told` say; a wrong one counts as not set."""
    wrong: list[str] = []

    def number(name: str, otherwise: int, lowest: int = 0, highest: int = _MOST) -> int:
        text = told.get(name, "")
        value = whole_number(text, lowest=lowest, highest=highest) if text else otherwise
        if value is None:
            got = f"{lowest} to {highest} (got {reprlib.repr(text)})"
            wrong.append(f"{name}: should be a whole number, {got}")
        return otherwise if value is None else value

    by_agent, by_accelerate = told.keys() >= _TORCHRUN, told.keys() >= _ACCELERATE
    world_size = number("WORLD_SIZE", 1, 1)
    missing = [name for name in _MEETING if not told.get(name)]
    if world_size > 1 and missing:
        wrong.append(
            f"WORLD_SIZE is {world_size} but {missing[0]} is not set: this is not a launcher's "
            f"process; unset it, or {LAUNCH_HINT}"
        )
    num_threads = number("OMP_NUM_THREADS", 0, 1, _MOST_THREADS) or None
    restarts = number("TORCHELASTIC_RESTART_COUNT", 0) if by_agent else 0
    precision = told.get("ACCELERATE_MIXED_PRECISION") or "no"
    on_cpu = told.get("ACCELERATE_USE_CPU", "")
    if on_cpu.lower() not in _TRUE | _FALSE:
        wrong.append(f"ACCELERATE_USE_CPU: should be true or false (got {reprlib.repr(on_cpu)})")
    number("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", 1)  # which Accelerate reads by itself
    if world_size == 1:
        told = {}
    here = number("LOCAL_WORLD_SIZE", 1, 1)
    machines = number("GROUP_WORLD_SIZE", 0) or number("SLURM_STEP_NUM_NODES", 0) or None
    return Launch(
        started_by="accelerate" if by_accelerate else "torchrun" if by_agent else "python",
        num_threads=num_threads,
        mixed_precision=precision,
        use_cpu=on_cpu.lower() in _TRUE,
        restarts=restarts,
        world_size=world_size,
        rank=number("RANK", 0, highest=world_size - 1),
        local_rank=number("LOCAL_RANK", 0),
        local_world_size=here,
        num_machines=1 if here == world_size else machines,
        machine_rank=number("GROUP_RANK", 0),
        master=(told.get("MASTER_ADDR", ""), number("MASTER_PORT", 0, 1, 65_535)),
        wrong=next(iter(wrong), None),
    )


def asked_threads() -> int | None:
    """Threads that the user's ``OMP_NUM_THREADS`` asks for, if it is the user's.

    Where it is not set, torchrun sets 1, and `accelerate launch` also the machine's cores divided.
    Such a value is the user's if the launcher was started with one, as the system tells.
    """
    launch = this_launch()
    cores = (psutil.cpu_count(logical=False) or 1) // launch.local_world_size
    if launch.started_by == "python" or launch.num_threads not in {1, cores}:
        return launch.num_threads
    with suppress(OSError):
        told = Path(f"/proc/{os.getppid()}/environ").read_bytes()
        return launch.num_threads if b"\0OMP_NUM_THREADS=" in b"\0" + told else None
    return None


def forget_empty() -> None:
    """Unset what is set to nothing, in which Accelerate would read a number or a truth."""
    for name in [name for name, value in os.environ.items() if not value]:
        if name in {*_OF_OTHERS, "OMP_NUM_THREADS"} or name.startswith(("ACCELERATE_", *_OF_MPI)):
            del os.environ[name]


def stand_alone(*, in_group: bool) -> None:
    """Forget what says that a process alone has others: Accelerate would wait for them.

    `in_group` has it make a group of its own all the same, which FSDP needs.
    """
    for name in list(os.environ):
        if name in _OF_OTHERS or name.startswith(_OF_MPI):
            value = os.environ.pop(name)
            if name.endswith("_SIZE") and value not in {"", "0", "1"} and "LOCAL" not in name:
                _log.warning(f"{name} is not followed, this process trains alone; {LAUNCH_HINT}")
    if in_group:
        os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
