"""``mnistbench.train`` with FSDP2 on CPU processes, which Accelerate does for GPUs only."""

import os
import sys

from accelerate import Accelerator
from torch.distributed.fsdp import fully_shard

import mnistbench.train
from mnistbench.engine import setting


def prepare(self, model, optimizer):
    """What Accelerate does: shards the weights, and has the optimizer hold what came of them."""
    before = {weight: name for name, weight in model.named_parameters()}
    layers = [] if "MNISTBENCH_TESTS_SHARD_WHOLE" in os.environ else model.modules()
    for layer in layers:  # without, as ``NO_WRAP`` does it
        if list(layer.parameters(recurse=False)):
            fully_shard(layer)
    fully_shard(model)
    after = dict(model.named_parameters())
    for group in optimizer.param_groups:
        group["params"] = [after[before[weight]] for weight in group["params"]]
    return model, self.prepare_optimizer(optimizer)


if __name__ == "__main__":
    Accelerator.prepare = prepare
    setting.shards_weights = lambda accelerator: True
    sys.exit(mnistbench.train.main())
