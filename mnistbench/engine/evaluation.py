"""Reading a split: exact counts over any number of processes, one reduction per evaluation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn

from mnistbench.workload.losses import LossFn


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one evaluation found, the same on every process.

    `num_samples` images were counted; `train_s` is the train clock of the slowest process
    [seconds], `train_loss` the mean training loss since the evaluation before; losses may be NaN or
    infinite.
    """

    accuracy: float
    loss: float
    num_samples: int
    train_s: float
    train_loss: float


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Counts correct answers and sums losses on the device, each process over its own shard.

    `logits` gives logits ``[b, num_classes]`` of images at rest, ``[b, C, H, W]``, by the weights
    of `model`; `whole_logits`, where given, is a faster form of it for batches of
    `eval_batch_size`. Where the weights are shared out, processes must ask for logits `in_step`,
    each as often as the others.
    """

    accelerator: Accelerator
    model: nn.Module
    logits: Callable[[Tensor], Tensor]
    loss_fn: LossFn
    eval_batch_size: int
    whole_logits: Callable[[Tensor], Tensor] | None = None
    in_step: bool = False

    def compiled(self, blank: Tensor) -> Evaluator:
        """The same with batches of `eval_batch_size` compiled, on images like `blank`."""
        whole = torch.compile(self.logits, fullgraph=True, dynamic=False)
        with self._evaluating(), torch.no_grad():
            whole(blank.new_zeros(self.eval_batch_size, *blank.shape))
        return replace(self, whole_logits=whole)

    @torch.no_grad()
    def __call__(
        self, images: Tensor, labels: Tensor, *, train_s: float, train_losses: Tensor
    ) -> Evaluation:
        """Evaluate on `images` ``[N, C, H, W]`` and `labels` int64 ``[N]``, on the device.

        `train_s` is this process's train clock, `train_losses` its weighted losses of the steps
        since the last evaluation.
        """
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        # correct, loss sum, images, training loss sum; then each process's train clock in a slot
        sums = torch.zeros(4 + world, dtype=widest_float(images.device), device=images.device)
        for buffer in self.model.buffers() if world > 1 else ():
            broadcast(buffer)  # batch-norm statistics are the main one's, as DDP has it
        low, high = rank * len(images) // world, (rank + 1) * len(images) // world
        self._count(images[low:high], labels[low:high], sums)
        if self.in_step:
            # logits that nobody needs, where this process's shard had fewer batches
            largest, size = -(-len(images) // world), self.eval_batch_size
            with self._evaluating():
                for _ in range(-(-largest // size) - -(-(high - low) // size)):
                    self.logits(images[:1])
        sums[3] = train_losses.sum()
        sums[4 + rank] = train_s
        correct, loss, count, train_loss, *clocks = self.accelerator.reduce(sums, "sum").tolist()
        return Evaluation(
            accuracy=correct / count,
            loss=loss / count,
            num_samples=round(count),
            train_s=max(clocks),
            train_loss=train_loss / world / max(len(train_losses), 1),
        )

    def _count(self, images: Tensor, labels: Tensor, sums: Tensor) -> None:
        batches = (torch.split(tensor, self.eval_batch_size) for tensor in (images, labels))
        with self._evaluating() as loss_fn:
            for batch, expected in zip(*batches, strict=True):
                if not len(batch):  # more processes than images: the mean over none is NaN
                    continue
                whole = self.whole_logits if len(batch) == self.eval_batch_size else None
                logits = (whole or self.logits)(batch)
                sums[0] += (logits.argmax(dim=1) == expected).sum()
                sums[1] += loss_fn(logits, expected) * len(batch)
                sums[2] += len(batch)

    @contextmanager
    def _evaluating(self) -> Iterator[LossFn]:
        """In evaluation mode, with a copy of the loss: the user's may count steps of training."""
        loss_fn, was_training = self.loss_fn, self.model.training
        with suppress(Exception):  # one that keeps a node of a graph of gradients has no copy
            loss_fn = copy.deepcopy(loss_fn)  # of a function, itself
            if isinstance(loss_fn, nn.Module):
                loss_fn.eval()
        self.model.eval()
        try:
            yield loss_fn
        finally:
            self.model.train(was_training)


@cache
def widest_float(device: torch.device) -> torch.dtype:
    """float64 where `device` can add in it, else float32; tried once."""
    try:
        torch.ones(1, dtype=torch.float64, device=device).add_(1).item()
    except (RuntimeError, TypeError):  # as XPU without it, and MPS, have it
        return torch.float32
    return torch.float64
