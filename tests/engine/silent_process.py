"""One process of three that check on each other beside a backend which is not gloo's own.

``python -m tests.engine.silent_process silent|gone`` looks once, then process 1 falls silent or
goes, and the others look again. Tells what they are told.
"""

import os
import signal
import sys
import time

import torch

from mnistbench.engine.distributed import start_accelerator
from mnistbench.engine.health_check import HealthCheck
from mnistbench.engine.process_group import check_group, leave_group
from mnistbench.engine.process_loss import exchange_errors
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import ProcessLostError

TIMEOUT_S = 3.0


def tell(what):
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main(how):
    accelerator = start_accelerator(RunConfig(process_timeout_s=60, global_batch_size=63))
    torch.distributed.get_backend = lambda: "nccl"  # as where gradients go over NCCL
    group = check_group(accelerator, timeout_s=TIMEOUT_S)
    assert group.side is not None
    assert check_group(accelerator, timeout_s=TIMEOUT_S) == group
    check = HealthCheck(accelerator, group=group)
    rank = accelerator.process_index

    def look():
        return check.check(torch.ones(rank + 1), [torch.ones(2)], elapsed_s=rank, signal=rank)

    tell(look())
    if rank == 1 and how == "gone":
        os.kill(os.getpid(), signal.SIGKILL)
    if rank == 1:
        time.sleep(TIMEOUT_S + 4)
        os._exit(0)
    try:
        with exchange_errors():
            look()
    except ProcessLostError as error:
        tell(error)
        time.sleep(1)  # a run writes its record here; process 0 keeps the store
        os._exit(3)
    leave_group()


main(sys.argv[1])
