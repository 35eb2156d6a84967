"""The fast training step: everything from pixels to new weights as one piece.

Accelerate places the model and the processes; its per-step Python is not on the path. The whole
update is written once and runs on one of three floors: replayed from a CUDA graph, compiled by
inductor, or eagerly. All of them change the same tensors in place, so a batch that the floor was
not made for (the smaller last one of an epoch) takes the eager one. Another floor, such as a
hand-written kernel, is one more function of the same inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mnistbench.engine.gradient_allreduce import GradientAllReduce, pairwise_sum
from mnistbench.engine.graph import CapturedSteps
from mnistbench.schema.config import RunConfig
from mnistbench.workload.batches import (
    Batch,
    BatchShard,
    MicroBatch,
    Preprocess,
    StepInputs,
    microbatches,
)
from mnistbench.workload.functional_update import functional_update
from mnistbench.workload.losses import LossFn

__all__ = ["ExecutionMode", "FastStep", "Objective"]

ExecutionMode = Literal["graph", "compiled", "eager"]
"""How a step is run: replayed from a CUDA graph, compiled as one, or call by call."""


class Objective(NamedTuple):
    """What a step minimises, from pixels to the loss.

    Attributes:
        network: logits float32 ``[b, 10]`` of normalised images ``[b, 1, 28, 28]``.
        loss_fn: mean loss ``[]`` of logits and labels int64 ``[b]``.
        preprocess: makes the images of uint8 ``[b, 28, 28]``.
        num_microbatches: into which a process cuts its part of a step.
    """

    network: Callable[[Tensor], Tensor]
    loss_fn: LossFn
    preprocess: Preprocess
    num_microbatches: int = 1


LossAndGradients = tuple[Tensor, Sequence[Tensor]]
"""A loss ``[]``, detached, and the gradient of it by each weight."""


class FastStep:
    """One optimizer update on one batch.

    Attributes:
        model: owns the weights; not wrapped for several processes.
        floor: how full batches are run.
        fallback_reason: why it is lower than asked for, if so.
        exchange: takes the mean of the processes' gradients.
    """

    def __init__(
        self,
        config: RunConfig,
        accelerator: Accelerator,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
    ) -> None:
        """`objective` computes with `model`'s weights; `optimizer` is torch's, not prepared."""
        self.model, self.optimizer, self.objective = model, optimizer, objective
        self.floor: ExecutionMode = _floor(config, accelerator.device)
        self.fallback_reason: str | None = None
        self.exchange = GradientAllReduce(accelerator.num_processes, exact=config.exact_parity)
        self._config, self._alone = config, accelerator.num_processes == 1
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._full: tuple[int, float] | None = None
        self._compiled: Callable[..., Tensor] | None = None
        self._graph: CapturedSteps | None = None
        self._lr = torch.tensor(config.lr, device=accelerator.device)

    @property
    def steps_per_call(self) -> int:
        """Steps that `many` takes at once; 1 unless a CUDA graph holds several."""
        return self._config.steps_per_graph if self.floor == "graph" else 1

    def __call__(self, batch: Batch, *, lr: float) -> Tensor:
        """Train on `batch` at `lr`; gives this process's weighted loss, detached, on the device."""
        return self.many([batch], lrs=[lr])[0]

    def many(self, batches: Sequence[Batch], *, lrs: Sequence[float]) -> Sequence[Tensor]:
        """Train on each of `batches` at its rate; gives their losses."""
        inputs = [self._inputs(batch) for batch in batches]
        full = all(self._is_full(batch.part) for batch in batches)
        if self._graph is not None and full and len(batches) == self.steps_per_call:
            return list(self._graph.replay(inputs, lrs).clone())
        step = self._compiled if self._compiled is not None and full else self.update
        losses = []
        for batch, given, lr in zip(batches, inputs, lrs, strict=True):
            self._set_lr(lr)
            losses.append(step(*given, batch.part.weight))
        return losses

    def update(self, images: Tensor, labels: Tensor, draws: Tensor | None, weight: float) -> Tensor:
        """The whole step on images uint8 ``[b, 28, 28]``; gives the weighted loss, detached."""
        loss, grads = self.gradients(images, labels, draws, weight)
        self._apply(self.exchange(grads))
        return loss

    def gradients(
        self, images: Tensor, labels: Tensor, draws: Tensor | None, weight: float
    ) -> LossAndGradients:
        """This process's weighted loss, detached, and each weight's gradient of it."""
        cut = microbatches((images, labels, draws), self.objective.num_microbatches)
        return pairwise_sum((self._gradients(piece, weight) for piece in cut), _add)

    def _gradients(self, piece: MicroBatch, weight: float) -> LossAndGradients:
        network, loss_fn, preprocess, _ = self.objective
        loss = loss_fn(network(preprocess.apply(piece.images, piece.draws)), piece.labels)
        if piece.share * weight != 1:
            loss = loss * (piece.share * weight)
        return loss.detach(), torch.autograd.grad(loss, self._weights)

    def warm_up(self, parts: Sequence[BatchShard], *, device: torch.device) -> None:
        """Compile or capture the full batch, and meet the other shapes, on blank data.

        `parts` are the first and the last of an epoch; the first is full. Weights, buffers,
        optimizer state and random states are exactly as before when this returns.

        Raises:
            RuntimeError: the compiler failed where ``config.compile`` asks for it.
        """
        full = parts[0]
        self._full = len(full.indices), full.weight
        if self.floor == "graph" and self._config.optimizer == "muon":
            self._fall("torch's Muon reads its learning rate on the host")
        if self.floor == "graph":
            self._read_on_device()
        with self._unchanged(device):
            self._set_lr(self._config.lr)
            for part in parts:
                self.update(*self._blank(part, device), part.weight)
            try:
                if self.floor == "compiled":
                    self._compile(full, device)
                elif self.floor == "graph":
                    self._capture(full, device)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                if self.floor == "compiled" and self._config.compile:
                    raise
                self._fall(str(error))

    def _compile(self, full: BatchShard, device: torch.device) -> None:
        """Compile the step as one, but for what cannot be: some updates, and the exchange."""
        apply = functional_update(self.optimizer, self._lr)

        def update(grads: Sequence[Tensor]) -> None:
            with torch.no_grad():
                apply(grads)  # type: ignore[misc]

        def whole(*inputs: Any) -> Tensor:
            loss, grads = self.gradients(*inputs)
            update(grads)
            return loss

        torch.compiler.reset()  # every run compiles anew, and dynamo counts that against a limit
        compiled: Any = partial(torch.compile, fullgraph=True, dynamic=False)
        with torch._dynamo.config.patch(trace_autograd_ops=True):  # noqa: SLF001
            if apply is not None and self._alone:
                step: Callable[..., Tensor] = compiled(whole)
            else:
                gradients = compiled(self.gradients)
                finish = self._apply if apply is None else compiled(update)

                def in_parts(*inputs: Any) -> Tensor:
                    loss, grads = gradients(*inputs)
                    finish(self.exchange(grads))
                    return cast("Tensor", loss)

                step = in_parts

            for _ in range(2):  # the second finds what only the first changes
                step(*self._blank(full, device), full.weight)

        def unchecked(*inputs: Any) -> Tensor:
            with torch.compiler.set_stance(skip_guard_eval_unsafe=True):  # safe: only full batches
                return step(*inputs)

        self._compiled = unchecked

    def _read_on_device(self) -> None:
        """Have the optimizer read its rate and count its steps where a graph can."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr
            if "capturable" in group:
                group["capturable"] = True

    def _capture(self, full: BatchShard, device: torch.device) -> None:
        self._graph = CapturedSteps(
            partial(self.update, weight=full.weight),
            example=self._blank(full, device),
            num_steps=self.steps_per_call,
            lr=self._lr,
        )

    def _fall(self, reason: str) -> None:
        self.fallback_reason = f"{self.floor}: {reason.strip().splitlines()[0]}"
        self.floor, self._compiled, self._graph = "eager", None, None
        for group in self.optimizer.param_groups:
            group["lr"] = self._config.lr
            if "capturable" in group:
                group["capturable"] = False

    def _apply(self, grads: Sequence[Tensor]) -> None:
        for weight, grad in zip(self._weights, grads, strict=True):
            # fused updates walk through memory and take the layouts to be the same
            same = grad.stride() == weight.stride()
            weight.grad = grad if same else torch.empty_like(weight).copy_(grad)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _is_full(self, part: BatchShard) -> bool:
        return (len(part.indices), part.weight) == self._full

    def _inputs(self, batch: Batch) -> StepInputs:
        return batch.images, batch.labels, self.objective.preprocess.draw(batch.part)

    def _blank(self, part: BatchShard, device: torch.device) -> StepInputs:
        count = len(part.indices)
        images = torch.zeros(count, 28, 28, dtype=torch.uint8, device=device)
        labels = torch.zeros(count, dtype=torch.int64, device=device)
        return images, labels, self.objective.preprocess.draw(part)

    def _set_lr(self, lr: float) -> None:
        """For the compiled step, a tensor; for torch's optimizers, a number, unless captured."""
        self._lr.fill_(lr)
        for group in self.optimizer.param_groups:
            if not isinstance(group["lr"], Tensor):
                group["lr"] = lr

    @contextmanager
    def _unchanged(self, device: torch.device) -> Iterator[None]:
        """Put back whatever the steps inside change; optimizer state begins as zeros."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        before = [tensor.detach().clone() for tensor in tensors]
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
            for state in self.optimizer.state.values():
                for value in state.values():
                    if isinstance(value, Tensor):
                        value.zero_()


def _add(a: LossAndGradients, b: LossAndGradients) -> LossAndGradients:
    return a[0] + b[0], [one + other for one, other in zip(a[1], b[1], strict=True)]


def _floor(config: RunConfig, device: torch.device) -> ExecutionMode:
    """The floor to try: unasked, compiling pays on a CPU with the batch innermost."""
    if device.type == "cuda" and config.cuda_graph:
        return "graph"
    compile_by_default = device.type == "cpu" and config.batch_last
    wanted = compile_by_default if config.compile is None else config.compile
    return "compiled" if wanted else "eager"
