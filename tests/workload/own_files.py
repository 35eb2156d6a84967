"""What tests bring as a user would: files in a working directory of their own."""

import contextlib
import sys
from pathlib import Path

import pytest

MY_NETS = """
import torch
from torch import nn

class TinyNet(nn.Module):
    def __init__(self, shape, width=8):
        super().__init__()
        self.first = nn.Linear(shape.channels * shape.height * shape.width, width)
        self.last = nn.Linear(width, shape.num_classes)

    def forward(self, images):
        return self.last(self.first(images.flatten(1)).relu())

def gce(logits, labels, q=0.7):
    p = logits.softmax(1).gather(1, labels[:, None])
    return ((1 - p**q) / q).mean()

class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr, betas=(0.9, 0.99)):
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                p.sub_(mean.lerp(p.grad, 1 - group["betas"][0]).sign(), alpha=group["lr"])
                mean.lerp_(p.grad, 1 - group["betas"][1])

def wsd(step, num_steps, steps_per_epoch):
    return min(1.0, (num_steps - step) / (0.2 * num_steps))
"""
"""A network, a loss, an optimizer and a schedule that work."""


@contextlib.contextmanager
def working_directory(folder: Path):
    """Work in `folder`, where imports leave no files."""
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "path", list(sys.path))
        patched.setattr(sys, "dont_write_bytecode", True)
        yield folder
