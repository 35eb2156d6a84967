"""Run by ``mnistbench doctor`` in two processes: do they find each other?"""

from __future__ import annotations

import sys

import torch

from mnistbench.engine.distributed import start_accelerator
from mnistbench.schema.config import RunConfig


def main() -> int:
    """Sum a one from each process; 0 if the sum is the number of processes launched."""
    accelerator = start_accelerator(RunConfig())
    ones = accelerator.reduce(torch.ones(1, device=accelerator.device), "sum")
    accelerator.end_training()
    return 0 if int(ones.item()) == accelerator.num_processes else 1


if __name__ == "__main__":
    sys.exit(main())
