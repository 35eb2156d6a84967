"""The group that the processes of a run are: a part of it to tell each other in, and its end."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from mnistbench.engine.process_loss import any_process_lost

_GRACE_S = 5.0
_side_groups: dict[float, Any] = {}
"""By how long they wait [seconds]."""


@dataclass(frozen=True)
class CheckGroup:
    """Where processes tell each other, between windows of steps, how they are.

    `side` is gloo's group beside the one that exchanges gradients, if that is not gloo's itself;
    others are waited for there for `timeout_s`.
    """

    accelerator: Accelerator
    side: torch.distributed.ProcessGroup | None = None
    timeout_s: float = 0.0

    @property
    def watchdog_s(self) -> float:
        """For `Watchdog`: more than what ends by itself may take; gloo ends all its own waits."""
        return math.inf if self.side is None else self.timeout_s + _GRACE_S

    def gather(self, mine: Tensor) -> Tensor:
        """What each process gives as `mine`, float ``[n]`` on the CPU; ``[num_processes, n]``.

        Raises:
            RuntimeError: as gloo words it where a process does not answer; see `exchange_errors`.
        """
        if self.side is None:
            every: Tensor = self.accelerator.gather(mine.to(self.accelerator.device).unsqueeze(0))
            return every.cpu()
        torch.distributed.monitored_barrier(
            self.side, timedelta(seconds=self.timeout_s), wait_all_ranks=True
        )
        parts = [torch.empty_like(mine) for _ in range(self.accelerator.num_processes)]
        torch.distributed.all_gather(parts, mine, group=self.side)
        return torch.stack(parts)


def check_group(accelerator: Accelerator, *, timeout_s: float) -> CheckGroup:
    """Where to tell each other; made once in a process's life, and every process must call this.

    NCCL neither ends a wait in words nor names who is silent, and needs the device for an answer:
    beside it is a group of gloo's, at a millisecond a check.
    """
    if accelerator.num_processes == 1 or torch.distributed.get_backend() == "gloo":
        return CheckGroup(accelerator)
    if timeout_s not in _side_groups:
        _side_groups[timeout_s] = torch.distributed.new_group(
            backend="gloo", timeout=timedelta(seconds=timeout_s)
        )
    return CheckGroup(accelerator, _side_groups[timeout_s], timeout_s)


def keep_alive_at_loss() -> None:
    """Have NCCL's watchdog leave this process alone: ours writes the record, then ends it.

    0 is ``NoHandling``: 1, which torchrun sets, and 3 (the default) end the process before it has
    said anything; with 2 training would go on with gradients that were never exchanged.
    """
    os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = "0"
    os.environ["TORCH_NCCL_RETHROW_CUDA_ERRORS"] = "0"


def leave_group() -> None:
    """Leave the other processes, if this one has not yet; nothing can be exchanged afterwards.

    NCCL complains of a process that ends while its group still stands. CUDA graphs that hold
    exchanges have to be gone by then, as ending a communicator waits for them
    (https://github.com/pytorch/pytorch/issues/115388). Where a process is lost, nothing is waited
    for. Happens at exit, too.
    """
    if not torch.distributed.is_initialized():
        return
    _side_groups.clear()
    if any_process_lost() and torch.distributed.get_backend() != "gloo":
        torch.distributed.distributed_c10d._abort_process_group()  # noqa: SLF001
    else:
        torch.distributed.destroy_process_group()
