"""Processes: starting Accelerate so that they know each other, and deciding things together."""

from __future__ import annotations

import atexit
import os
import warnings
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DistributedType, DynamoBackend, broadcast_object_list, gather_object
from torch import Tensor

from mnistbench.engine.process_group import keep_alive_at_loss, leave_group
from mnistbench.engine.process_loss import exchange_errors
from mnistbench.engine.rendezvous import rendezvous_kwargs
from mnistbench.recorder.launcher import LAUNCH_HINT, forget_empty, stand_alone, this_launch
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import check_batch
from mnistbench.schema.errors import InputError, RunError, SaidElsewhereError, first_line

T = TypeVar("T")


def uses_cpu() -> bool:
    """Whether runs of this process are on the CPU: told to by Accelerate, or nothing else here."""
    return this_launch().use_cpu or not torch.accelerator.is_available()


def check_precision(config: RunConfig) -> str:
    """The precision that a run will use: the flag's, else the launcher's.

    Raises:
        InputError: fp16 or fp8 on the CPU, where Accelerate would run fp16 unscaled and slowly.
    """
    precision = config.mixed_precision or this_launch().mixed_precision
    if precision in {"fp16", "fp8"} and uses_cpu():
        raise InputError(
            f"mixed_precision: {precision} does not run on the CPU; "
            "use --mixed-precision bf16 or no"
        )
    return precision


def start_accelerator(config: RunConfig) -> Accelerator:
    """Accelerate, with the processes that the launcher promised.

    Raises:
        InputError: processes would not know each other, the precision does not fit the device, the
            batch not the processes, or the launcher asks for what the configuration has to.
        ProcessLostError: the processes did not meet in ``config.process_timeout_s``.
    """
    forget_empty()
    precision = check_precision(config)
    world_size = _world_size()
    if world_size == 1:
        stand_alone(in_group=_fsdp_is_asked_for() and not uses_cpu())
    check_batch(config, world_size)
    _check_devices()
    if uses_cpu():
        _refuse_fsdp("cpu")  # of which FSDP 1 ends in a traceback of Accelerate's
    # Accelerate keeps one precision per process
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:  # noqa: SLF001
        AcceleratorState._reset_state()  # noqa: SLF001
        GradientState._reset_state()  # noqa: SLF001
    if world_size > 1:
        keep_alive_at_loss()
    accelerator = _met(config, precision)
    if accelerator.num_processes != world_size:
        raise InputError(
            f"WORLD_SIZE is {world_size} but Accelerate sees {accelerator.num_processes} "
            f"process(es): they would train alone; {LAUNCH_HINT}"
        )
    if world_size > 1:
        atexit.unregister(leave_group)  # of an earlier run of this process
        atexit.register(leave_group)
    _check_launch_choices(accelerator)
    return accelerator


def _met(config: RunConfig, precision: str) -> Accelerator:
    try:
        with exchange_errors(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="OMP_NUM_THREADS")  # the run sets its own
            # cpu=True also makes several processes one group; without it each would train alone
            return Accelerator(
                mixed_precision=precision,
                cpu=uses_cpu(),
                kwargs_handlers=[rendezvous_kwargs(config.process_timeout_s)],
            )
    except (InputError, RunError):
        raise
    except (ValueError, ImportError, RuntimeError) as error:  # the last of a device's name
        raise InputError(f"accelerate: {first_line(error)}") from None


def shards_weights(accelerator: Accelerator) -> bool:
    """Whether each process holds a share of the weights only, as FSDP has it."""
    return bool(accelerator.distributed_type == DistributedType.FSDP)


def _check_devices() -> None:
    """Refuse more processes than GPUs on this machine: NCCL gives none of them an answer."""
    if uses_cpu() or not torch.cuda.is_available():
        return
    here, gpus = this_launch().local_world_size, torch.cuda.device_count()
    if here > gpus:
        raise InputError(
            f"num_processes: {here} on this machine, which has {gpus} GPU(s); launch one for each, "
            "or set ACCELERATE_USE_CPU=true"
        )


def _check_launch_choices(accelerator: Accelerator) -> None:
    """Refuse what a launcher can switch on behind the back of the configuration."""
    if accelerator.gradient_accumulation_steps != 1:
        raise InputError(
            "ACCELERATE_GRADIENT_ACCUMULATION_STEPS: the launcher's accumulation would change the "
            "global batch; unset it and use --gradient-accumulation-steps"
        )
    backend = accelerator.state.dynamo_plugin.backend
    if backend != DynamoBackend.NO:
        raise InputError(
            f"dynamo_backend: the launcher asks for {backend.value}; leave it out and use --compile"
        )
    kind = accelerator.distributed_type.value
    if kind == "FSDP":
        version = accelerator.state.fsdp_plugin.fsdp_version
        if version != 2:
            raise InputError(
                f"fsdp_version: {version} is not supported; set fsdp_version: 2 in fsdp_config"
            )
    else:
        _refuse_fsdp(accelerator.device.type)
    if kind not in {"NO", "FSDP"} and not kind.startswith("MULTI_"):
        raise InputError(
            f"distributed_type: {kind} is not supported; launch with MULTI_GPU, FSDP or NO"
        )


def _refuse_fsdp(device_type: str) -> None:
    if _fsdp_is_asked_for():
        raise InputError(
            f"distributed_type: the launcher asks for FSDP, which {device_type} processes do not "
            "do; use MULTI_GPU"
        )


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


def agree(accelerator: Accelerator, problem: str | InputError | None) -> str | None:
    """The first problem that any process has, named, the same answer on all; none if all is well.

    Raises:
        InputError: a process has one that nothing helps against; on the others but the main one
            `SaidElsewhereError`.
    """
    fatal = isinstance(problem, InputError)
    found = [(fatal, None if problem is None else str(problem))]
    if accelerator.num_processes > 1:
        number = accelerator.num_processes
        found = [
            (is_fatal, text and f"process {index} of {number}: {text}")
            for index, (is_fatal, text) in enumerate(gather_object(found))
        ]
    for is_fatal, text in found:
        if is_fatal:
            raise InputError(text) if accelerator.is_main_process else SaidElsewhereError(text)
    return next((text for _, text in found if text is not None), None)


def share_from_main(accelerator: Accelerator, tensors: Iterable[Tensor]) -> None:
    """Give all processes the main one's `tensors`, in place."""
    if accelerator.num_processes == 1:
        return
    for tensor in tensors:
        whole = tensor.detach().contiguous()
        torch.distributed.broadcast(whole, src=0)
        tensor.detach().copy_(whole)


def _world_size() -> int:
    """The number of processes, once what the variables say of them is found to be possible."""
    if "ACCELERATE_DEBUG_RDV_FILE" in os.environ and torch.distributed.is_initialized():
        # debug_launcher makes the group, all of it on this machine, and tells nobody a rank
        rank, number = torch.distributed.get_rank(), torch.distributed.get_world_size()
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(number))
    launch = this_launch()
    if launch.wrong:
        raise InputError(launch.wrong)
    return launch.world_size


def _fsdp_is_asked_for() -> bool:
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
