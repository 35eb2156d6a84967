"""``mnistbench.train`` whose exchanges of one step never end, as NCCL's where a process is lost."""

import select
import sys

import torch

import mnistbench.train
from mnistbench.engine.gradient_allreduce import GradientAllReduce

STEP = 7


def hang():
    """Block every process inside its exchange of `STEP`, and say that it goes over NCCL."""
    plain, calls = GradientAllReduce.__call__, []

    def exchange(self, grads):
        calls.append(None)
        if len(calls) > STEP:
            select.select([], [], [])
        return plain(self, grads)

    GradientAllReduce.__call__ = exchange
    torch.distributed.get_backend = lambda *_: "nccl"


if __name__ == "__main__":
    hang()
    sys.exit(mnistbench.train.main())
