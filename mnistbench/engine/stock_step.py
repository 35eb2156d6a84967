"""The stock training step: Accelerate's own backward and optimizer, one update per call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mnistbench.engine.objective import Objective
from mnistbench.engine.observed import Observed, ObservedOperators, compiled_graphs, observe
from mnistbench.engine.plan import ExecutionPlan
from mnistbench.engine.unchanged import nothing_changed, unchanged
from mnistbench.schema.errors import InputError
from mnistbench.workload.batches import Batch, BatchShard, MicroBatch, blank_inputs, microbatches
from mnistbench.workload.optimizers import set_lr


class StockStep:
    """One optimizer update on one batch; `model` is as Accelerate prepared it."""

    steps_per_call = 1

    def __init__(
        self,
        plan: ExecutionPlan,
        *,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: Any,
        objective: Objective,
    ) -> None:
        """`model` and `optimizer` are Accelerate-prepared, the objective's network is unwrapped."""
        self.plan, self.accelerator, self.optimizer = plan, accelerator, optimizer
        self.model, self.objective, self._compiles = model, objective, False
        self._inner = accelerator.unwrap_model(model)  # with Accelerate's autocast
        self._device = accelerator.device

    def __call__(self, batch: Batch, *, lr: float) -> Tensor:
        """Train on `batch` at `lr`; gives this process's weighted loss, detached, on the device."""
        return self.update(batch, self.model, lr=lr)

    def update(self, batch: Batch, model: Callable[[Tensor], Tensor], *, lr: float) -> Tensor:
        """The same by `model`, which may be without a wrapper or the compiler."""
        set_lr(self.optimizer.optimizer, lr)
        loss = self.backward(batch, model)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    def train_steps(self, batches: Sequence[Batch], *, lrs: Sequence[float]) -> Sequence[Tensor]:
        """Train on each of `batches` at its rate; gives their losses."""
        return [self(batch, lr=lr) for batch, lr in zip(batches, lrs, strict=True)]

    def backward(self, batch: Batch, model: Callable[[Tensor], Tensor]) -> Tensor:
        """Add up gradients by `model`, wrapped or not; gives the weighted loss, detached."""
        inputs = batch.images, batch.labels, self.objective.preprocess.draw(batch.part)
        *before, last = microbatches(inputs, self.objective.num_microbatches)
        losses = []
        for piece in before:
            with self.accelerator.no_sync(model):
                losses.append(self._backward_piece(piece, batch.part.weight, model))
        losses.append(self._backward_piece(last, batch.part.weight, model))
        return reduce(torch.add, losses)

    def _backward_piece(
        self, piece: MicroBatch, weight: float, model: Callable[[Tensor], Tensor]
    ) -> Tensor:
        logits = model(self.objective.preprocess.apply(piece.images, piece.draws))
        loss = self.objective.loss_fn(logits, piece.labels)
        if piece.share * weight != 1:
            loss = loss * (piece.share * weight)
        self.accelerator.backward(loss)
        return loss.detach()

    def prepare(self, shards: Sequence[BatchShard]) -> None:
        """Run, or compile, the model on blank data, without DDP; within `unchanged`.

        Raises:
            RuntimeError: the compiler failed.
        """
        if self.plan.compile:
            torch.compiler.reset()  # every run compiles anew, which dynamo counts against a limit
            self._inner.compile()  # in place: torch compiles nothing from outside DDP's wrapper
        before = compiled_graphs()
        for shard in shards:
            self.backward(self._blank(shard), self._inner)
        if self.plan.compile and self.plan.own:
            with nothing_changed(self._inner, self.objective.loss_fn):
                self.backward(self._blank(shards[0]), self._inner)
        self._compiles = compiled_graphs() > before
        if self.plan.compile and not self._compiles:
            raise RuntimeError("torch.compile compiled nothing: is TORCHDYNAMO_DISABLE set?")

    def rehearse(self, shards: Sequence[BatchShard]) -> Observed:
        """Run forward, backward and the optimizer on blank data, with all processes.

        Loads and compiles what they need, so that the train clock does not pay for it. Gives what
        was seen to run.
        """
        before = compiled_graphs()
        for shard in shards:
            self.backward(self._blank(shard), self.model)
        with ObservedOperators() as seen:
            self.optimizer.optimizer.step()  # torch's own: a gradient scaler might leave it out
        compiled = self._compiles or compiled_graphs() > before
        return observe(
            self.objective,
            blank_inputs(shards[0], self.objective.blank)[0],
            model=self._inner,
            kernels=seen.kernels,
            ran="compiled" if compiled else "eager",
        )

    def fall_back(self, reason: str) -> None:
        """Nothing is below this loop, whose compiler was asked for and failed with `reason`."""
        raise InputError(f"compile: {reason}; use --no-compile")

    def release(self) -> None:
        """Nothing is held."""

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Put back whatever the steps inside change; the first step still makes the state."""
        scaler = self.accelerator.scaler
        before = scaler and scaler.state_dict()
        with unchanged(self._inner, self.objective.loss_fn, device=self._device):
            yield
        if "optimizer" not in self.plan.own:  # of which there will be a new one
            self.optimizer.optimizer.state.clear()
        if scaler is not None:
            scaler.load_state_dict(before)

    def _blank(self, shard: BatchShard) -> Batch:
        return Batch(*blank_inputs(shard, self.objective.blank), shard)
