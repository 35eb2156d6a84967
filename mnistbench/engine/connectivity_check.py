"""Run by ``mnistbench doctor`` in several processes: would a run start, and do they meet?"""

from __future__ import annotations

import sys

import torch

from mnistbench.engine.distributed import start_accelerator
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError, RunError


def main(timeout_s: str = "100") -> int:
    """Sum a one from each process; 0 if the sum is the number of processes launched."""
    # a batch that any number of processes can share: the one of a run is told to that run
    config = RunConfig(per_device_batch_size=1, process_timeout_s=float(timeout_s))
    try:
        accelerator = start_accelerator(config)
    except (InputError, RunError) as error:
        sys.exit(f"mnistbench: error: {error}")
    ones = accelerator.reduce(torch.ones(1, device=accelerator.device), "sum")
    accelerator.end_training()
    return 0 if int(ones.item()) == accelerator.num_processes else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
