"""The stock training step: Accelerate's own backward and optimizer, one update per call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mnistbench.workload.batches import Batch, BatchShard, MicroBatch, Preprocess, microbatches
from mnistbench.workload.losses import LossFn

__all__ = ["StockStep"]


@dataclass(frozen=True, kw_only=True)
class StockStep:
    """One optimizer update on one batch; `model` and `optimizer` are Accelerate-prepared."""

    accelerator: Accelerator
    model: nn.Module
    optimizer: Any
    loss_fn: LossFn
    preprocess: Preprocess
    num_microbatches: int = 1
    floor: str = "stock"
    fallback_reason: str | None = None

    def __call__(self, batch: Batch, *, lr: float) -> Tensor:
        """Train on `batch` at `lr`; gives this process's weighted loss, detached, on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        loss = self._backward(batch)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    @property
    def steps_per_call(self) -> int:
        """Steps that `many` takes at once: always 1."""
        return 1

    def many(self, batches: Sequence[Batch], *, lrs: Sequence[float]) -> Sequence[Tensor]:
        """Train on each of `batches` at its rate; gives their losses."""
        return [self(batch, lr=lr) for batch, lr in zip(batches, lrs, strict=True)]

    def _backward(self, batch: Batch) -> Tensor:
        inputs = batch.images, batch.labels, self.preprocess.draw(batch.part)
        *before, last = microbatches(inputs, self.num_microbatches)
        losses = []
        for piece in before:
            with self.accelerator.no_sync(self.model):
                losses.append(self._backward_piece(piece, batch.part.weight))
        losses.append(self._backward_piece(last, batch.part.weight))
        return reduce(torch.add, losses)

    def _backward_piece(self, piece: MicroBatch, weight: float) -> Tensor:
        logits = self.model(self.preprocess.apply(piece.images, piece.draws))
        loss = self.loss_fn(logits, piece.labels)
        if piece.share * weight != 1:
            loss = loss * (piece.share * weight)
        self.accelerator.backward(loss)
        return loss.detach()

    def warm_up(self, parts: list[BatchShard], *, device: torch.device) -> None:
        """Run forward and backward on blank batches of the shapes of `parts`, then undo it all.

        Loads and compiles what forward and backward need, so that the train clock does not pay
        for it; the optimizer's first step, which makes its state, stays inside.
        Weights and optimizer are not touched; buffers, gradients and random states are put back.
        """
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            for part in parts:
                count = len(part.indices)
                images = torch.zeros(count, 28, 28, dtype=torch.uint8, device=device)
                labels = torch.zeros(count, dtype=torch.int64, device=device)
                self._backward(Batch(images, labels, part))
        for buffer, before in zip(self.model.buffers(), buffers, strict=True):
            buffer.copy_(before)
        self.optimizer.zero_grad()
