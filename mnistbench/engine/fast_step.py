"""The fast training step: everything from pixels to new weights as one piece.

The update is written once and runs in one of three modes: replayed from a CUDA graph, compiled by
inductor, or eagerly. All change the same tensors in place, so a batch that the mode was not made
for (the smaller last one of an epoch) is run eagerly.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FunctionType
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from mnistbench.engine.gradient_allreduce import GradientAllReduce, pairwise_sum
from mnistbench.engine.graph import CapturedSteps
from mnistbench.engine.objective import Objective
from mnistbench.engine.observed import Observed, ObservedOperators, compiled_graphs, observe
from mnistbench.engine.plan import ExecutionPlan, eager
from mnistbench.engine.unchanged import nothing_changed, unchanged, zero_state
from mnistbench.workload.batches import (
    Batch,
    BatchShard,
    MicroBatch,
    StepInputs,
    blank_inputs,
    microbatches,
)
from mnistbench.workload.functional_update import functional_update
from mnistbench.workload.optimizers import set_lr, step_and_clear

LossAndGradients = tuple[Tensor, Sequence[Tensor]]
"""A loss ``[]``, detached, and the gradient of it by each weight."""


class FastStep:
    """One optimizer update on one batch; `plan` is how full ones are run, as it came out."""

    def __init__(
        self,
        plan: ExecutionPlan,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        allreduce: GradientAllReduce,
    ) -> None:
        """`objective` computes with `model`'s weights; `optimizer` is torch's, not prepared."""
        self.plan, self.model, self.optimizer, self.objective = plan, model, optimizer, objective
        self.allreduce = allreduce
        self._peak_lr = float(optimizer.param_groups[0]["lr"])
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._device = self._weights[0].device
        self._full: tuple[int, float] | None = None
        self._compiled: Callable[..., Tensor] | None = None
        self._graph: CapturedSteps | None = None
        self._compiles_update = False
        self._lr = torch.tensor(self._peak_lr, device=self._device)

    @property
    def steps_per_call(self) -> int:
        """Steps that `train_steps` takes at once; 1 unless a CUDA graph holds several."""
        return self.plan.steps_per_graph

    def train_steps(self, batches: Sequence[Batch], *, lrs: Sequence[float]) -> Sequence[Tensor]:
        """Train on each of `batches` at its rate; gives this process's weighted losses."""
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
        """The whole step on images ``[b, C, H, W]``; gives the weighted loss, detached."""
        loss, grads = self.gradients(images, labels, draws, weight)
        self._apply(self.allreduce(grads))
        return loss

    def gradients(
        self, images: Tensor, labels: Tensor, draws: Tensor | None, weight: float
    ) -> LossAndGradients:
        """This process's weighted loss, detached, and each weight's gradient of it."""
        cut = microbatches((images, labels, draws), self.objective.num_microbatches)
        return pairwise_sum((self._gradients(piece, weight) for piece in cut), _add)

    def _gradients(self, piece: MicroBatch, weight: float) -> LossAndGradients:
        network, loss_fn, preprocess, *_ = self.objective
        loss = loss_fn(network(preprocess.apply(piece.images, piece.draws)), piece.labels)
        if piece.share * weight != 1:
            loss = loss * (piece.share * weight)
        return loss.detach(), self._grads_of(loss)

    def _grads_of(self, loss: Tensor) -> Sequence[Tensor]:
        grads = torch.autograd.grad(loss, self._weights, allow_unused=True)
        pairs = zip(grads, self._weights, strict=True)
        return [torch.zeros_like(weight) if grad is None else grad for grad, weight in pairs]

    def prepare(self, shards: Sequence[BatchShard]) -> None:
        """Run, compile or capture the step on blank data, without the exchange of gradients.

        `shards` are of all shapes to come; the first is full. Weights, state and random numbers
        change: call it within `unchanged`.

        Raises:
            RuntimeError: the compiler, or the capture, failed.
        """
        full = shards[0]
        self._full = len(full.indices), full.weight
        if self.plan.mode == "graph":
            self._read_on_device()
        self._set_lr(self._peak_lr)
        for shard in shards:
            self._update_alone(*self._blank(shard), shard.weight)
        if self.plan.mode != "eager" and self.plan.own:
            with nothing_changed(self.model, self.objective.loss_fn):
                self._update_alone(*self._blank(full), full.weight)
        if self.plan.mode == "compiled":
            self._compile(full)
        elif self.plan.mode == "graph":
            self._graph = CapturedSteps(
                partial(self.update, weight=full.weight),
                warm_up=partial(self._update_alone, weight=full.weight),
                example=self._blank(full),
                num_steps=self.steps_per_call,
                lr=self._lr,
            )

    def rehearse(self, shards: Sequence[BatchShard]) -> Observed:
        """Train on blank data as the run will, with all processes; within `unchanged`.

        Gives what was seen to run.
        """
        for shard in shards:
            compiled = self._compiled if self._is_full(shard) else None
            (compiled or self.update)(*self._blank(shard), shard.weight)
        with _unwarned(), ObservedOperators() as seen:
            self._apply([torch.zeros_like(weight) for weight in self._weights])
        return observe(
            self.objective,
            self._blank(shards[0])[0],
            model=self.model,
            kernels="compiled" if self._compiles_update else seen.kernels,
            ran=self._ran(),
        )

    def _ran(self) -> Literal["compiled", "graph", "eager"]:
        if self._compiled is not None:
            return "compiled"
        return "graph" if self._graph is not None and self._graph.really_runs() else "eager"

    def fall_back(self, reason: str) -> None:
        """Run call by call from now on, because of `reason`."""
        self.plan = eager(self.plan, reason)
        self._compiled, self._graph, self._compiles_update = None, None, False
        for group in self.optimizer.param_groups:
            group["lr"] = self._peak_lr
            if "capturable" in group:
                group["capturable"] = False
        self.optimizer.state.clear()  # a graph's counters lie on the device

    def release(self) -> None:
        """Let go of graphs, which hold the communicator that they captured."""
        self._graph = self._compiled = None

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Put back whatever the steps inside change."""
        with unchanged(self.model, self.objective.loss_fn, device=self._device):
            yield
        if "optimizer" in self.plan.own:
            return  # there will be a new one
        if self.plan.mode == "eager":
            self.optimizer.state.clear()
        else:  # what was compiled or captured writes there; all optimizers begin with zeros
            zero_state(self.optimizer)

    def _update_alone(
        self, images: Tensor, labels: Tensor, draws: Tensor | None, weight: float
    ) -> None:
        """`update` by this process's own gradients."""
        with _unwarned():
            self._apply(self.gradients(images, labels, draws, weight)[1])

    def _compile(self, full: BatchShard) -> None:
        """Compile the step as one, but for what cannot be: some updates, and the exchange."""
        is_own = "optimizer" in self.plan.own  # its `step` may do anything
        apply = None if is_own else functional_update(self.optimizer, self._lr)

        def update(grads: Sequence[Tensor]) -> None:
            with torch.no_grad():
                apply(grads)  # type: ignore[misc]

        def gradients(*inputs: Any) -> LossAndGradients:
            return self.gradients(*inputs)

        def whole(*inputs: Any) -> Tensor:
            loss, grads = self.gradients(*inputs)
            update(grads)
            return loss

        def step_of(made: Callable[..., Any], exchange: Callable[..., Any]) -> Callable[..., Any]:
            """The step by what `made` makes of its functions."""
            if apply is not None and self.allreduce.is_alone:
                return cast("Callable[..., Any]", made(whole))
            begin, finish = made(gradients), self._apply if apply is None else made(update)

            def in_parts(*inputs: Any) -> Tensor:
                loss, grads = begin(*inputs)
                finish(exchange(grads))
                return cast("Tensor", loss)

            return in_parts

        torch.compiler.reset()  # every run compiles anew, and dynamo counts that against a limit
        before, inputs = compiled_graphs(), (*self._blank(full), full.weight)
        compiled = partial(torch.compile, fullgraph=True, dynamic=False)
        trial = step_of(compiled, exchange=self.allreduce.laid_out)
        with torch._dynamo.config.patch(trace_autograd_ops=True):  # noqa: SLF001
            for _ in range(2):  # the second finds what only the first changes
                trial(*inputs)
            if compiled_graphs() == before:
                raise RuntimeError("torch.compile compiled nothing: is TORCHDYNAMO_DISABLE set?")
            with torch.compiler.set_stance("fail_on_recompile"):
                trial(*inputs)  # what is a constant now stays one
        self._compiled = step_of(_compiled_code, exchange=self.allreduce)
        self._compiles_update = apply is not None

    def _read_on_device(self) -> None:
        """Keep the learning rate and the step count on the device (`capturable`)."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr
            if "capturable" in group:
                group["capturable"] = True

    def _apply(self, grads: Sequence[Tensor]) -> None:
        for weight, grad in zip(self._weights, grads, strict=True):
            # fused updates walk through memory and take the layouts to be the same
            same = grad.stride() == weight.stride()
            weight.grad = grad if same else torch.empty_like(weight).copy_(grad)
        if "optimizer" in self.plan.own:  # it may have hooks
            self.optimizer.step()
            self.optimizer.zero_grad()
        else:
            step_and_clear(self.optimizer)

    def _is_full(self, part: BatchShard) -> bool:
        return (len(part.indices), part.weight) == self._full

    def _inputs(self, batch: Batch) -> StepInputs:
        return batch.images, batch.labels, self.objective.preprocess.draw(batch.part)

    def _blank(self, shard: BatchShard) -> StepInputs:
        images, labels = blank_inputs(shard, self.objective.blank)
        return images, labels, self.objective.preprocess.draw(shard)

    def _set_lr(self, lr: float) -> None:
        """For the compiled step, a tensor; for optimizers, a number, unless captured."""
        self._lr.fill_(lr)
        set_lr(self.optimizer, lr)


def _compiled_code(function: Any) -> Callable[..., Any]:
    """What the compiler made of `function`, without a look at each call whether it still fits.

    That takes as long as the step of a small network, and full batches are all alike.
    """
    cached = torch._dynamo.eval_frame._debug_get_cache_entry_list  # noqa: SLF001
    newest, *_ = cached(function.__code__)
    name, closure = function.__name__, function.__closure__
    return FunctionType(newest.code, function.__globals__, name, None, closure)


def _add(a: LossAndGradients, b: LossAndGradients) -> LossAndGradients:
    return a[0] + b[0], [one + other for one, other in zip(a[1], b[1], strict=True)]


@contextmanager
def _unwarned() -> Iterator[None]:
    """Without torch's remark that what is to be captured is run before it is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This instance was constructed with capturable")
        yield
