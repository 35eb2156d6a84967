"""Processes: starting Accelerate so that they know each other, and deciding things together."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.commands.config.config_args import default_config_file, load_config_from_file
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DynamoBackend, broadcast_object_list

from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError, SaidElsewhereError

__all__ = [
    "check_precision",
    "decide_together",
    "launch_defaults",
    "start_accelerator",
    "uses_cpu",
]

T = TypeVar("T")

_LAUNCH_HINT = (
    "launch with `torchrun --nproc-per-node N -m mnistbench.train`, or set ACCELERATE_USE_CPU=true "
    "and use `accelerate launch --multi_gpu --num_processes N -m mnistbench.train`"
)
_RENDEZVOUS = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def uses_cpu() -> bool:
    """Whether runs of this process are on the CPU: told to by Accelerate, or nothing else here."""
    told = os.environ.get("ACCELERATE_USE_CPU", "").lower() in {"1", "true", "yes", "on"}
    return told or not torch.accelerator.is_available()


def check_precision(config: RunConfig) -> str:
    """The precision that a run will use: the flag's, else the launcher's.

    Raises:
        InputError: fp16 or fp8 on the CPU, where Accelerate would run fp16 unscaled and slowly.
    """
    precision = config.mixed_precision or os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision in {"fp16", "fp8"} and uses_cpu():
        raise InputError(
            f"mixed_precision: {precision} does not run on the CPU; "
            "use --mixed-precision bf16 or no"
        )
    return precision


def start_accelerator(config: RunConfig) -> Accelerator:
    """Accelerate, with the processes that the launcher promised.

    Raises:
        InputError: several processes were launched that would not know each other, the precision
            does not fit the device, or the launcher asks for gradient accumulation.
    """
    precision = check_precision(config)
    world_size = _world_size()
    _forget_other_precision(precision)
    try:
        # cpu=True also makes several processes one group; without it each would train alone
        accelerator = Accelerator(mixed_precision=precision, cpu=uses_cpu())
    except (ValueError, ImportError) as error:
        raise InputError(f"accelerate: {str(error).splitlines()[0]}") from None
    if accelerator.num_processes != world_size:
        raise InputError(
            f"WORLD_SIZE is {world_size} but Accelerate sees {accelerator.num_processes} "
            f"process(es): they would train alone; {_LAUNCH_HINT}"
        )
    if world_size > 1:
        atexit.register(_leave_group)
    _check_launch_choices(accelerator)
    return accelerator


def _check_launch_choices(accelerator: Accelerator) -> None:
    """Refuse what a launcher can switch on behind the back of the configuration.

    Raises:
        InputError: gradient accumulation, a compiler or another way to share out a model than DDP.
    """
    if accelerator.gradient_accumulation_steps != 1:
        raise InputError(
            "ACCELERATE_GRADIENT_ACCUMULATION_STEPS: accumulation would change the global batch; "
            "unset it and choose --global-batch-size"
        )
    backend = accelerator.state.dynamo_plugin.backend
    if backend != DynamoBackend.NO:
        raise InputError(
            f"dynamo_backend: the launcher asks for {backend.value}; leave it out and use --compile"
        )
    kind = accelerator.distributed_type.value
    if kind != "NO" and not kind.startswith("MULTI_"):
        raise InputError(f"distributed_type: {kind} is not supported; launch with MULTI_GPU or NO")


def decide_together(accelerator: Accelerator, decide: Callable[[], T]) -> T:
    """Let the main process `decide` and give its answer to all.

    Raises:
        InputError: it raised that; on the others `SaidElsewhereError`.
    """
    if accelerator.num_processes == 1:
        return decide()
    answer: list[tuple[T | None, str | None]] = [(None, None)]
    if accelerator.is_main_process:
        try:
            answer = [(decide(), None)]
        except InputError as error:
            answer = [(None, str(error))]
    broadcast_object_list(answer)
    value, wrong = answer[0]
    if wrong is not None:
        raise InputError(wrong) if accelerator.is_main_process else SaidElsewhereError(wrong)
    return value  # type: ignore[return-value]


def launch_defaults() -> str | None:
    """What the user's own Accelerate configuration file says, if there is one.

    Raises:
        InputError: the file is there but Accelerate cannot read it.
    """
    path = Path(default_config_file)
    if not path.exists():
        return None
    try:
        config = load_config_from_file(str(path))
    except Exception as error:  # Accelerate raises whatever its YAML reader met
        raise InputError(f"{path}: not readable by Accelerate ({error})") from None
    kind = getattr(config.distributed_type, "value", config.distributed_type)
    return f"{path}: {kind}, {config.num_processes} process(es), {config.mixed_precision}"


def _world_size() -> int:
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"WORLD_SIZE: should be a whole number (got {text!r}); unset it")
    missing = [name for name in _RENDEZVOUS if name not in os.environ]
    if int(text) > 1 and missing:
        raise InputError(
            f"WORLD_SIZE is {text} but {missing[0]} is not set: this is not a launcher's process; "
            f"{_LAUNCH_HINT}"
        )
    return int(text)


def _leave_group() -> None:
    """NCCL complains of a process that ends while its group still stands."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _forget_other_precision(precision: str) -> None:
    """Accelerate keeps one precision per process; forget it where the next run wants another."""
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:  # noqa: SLF001
        AcceleratorState._reset_state()  # noqa: SLF001
        GradientState._reset_state()  # noqa: SLF001
