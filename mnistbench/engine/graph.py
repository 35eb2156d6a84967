"""Training steps captured as a CUDA graph: one launch replays all kernels of one or more steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mnistbench.workload.batches import StepInputs

_EAGER_STEPS = 3
_NO_LOSS = -12_345.0


class CapturedSteps:
    """`num_steps` updates in one graph, on inputs that are copied to where it reads them."""

    def __init__(
        self,
        update: Callable[[Tensor, Tensor, Tensor | None], Tensor],
        *,
        warm_up: Callable[[Tensor, Tensor, Tensor | None], None],
        example: StepInputs,
        num_steps: int,
        lr: Tensor,
    ) -> None:
        """Capture ``update(*inputs)`` of shapes like `example`, at the rate that `lr` ``[]`` holds.

        `warm_up`, which runs a few times first, is `update` without an exchange.

        Raises:
            RuntimeError: something cannot be captured; the current stream is as it was.
        """
        device = lr.device
        self._inputs = [_static(example, device) for _ in range(num_steps)]
        self._lrs = torch.zeros(num_steps, device=device)
        current = torch.cuda.current_stream(device)
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(_EAGER_STEPS):
                warm_up(*self._inputs[0])
        current.wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        try:
            # thread_local: the threads of NCCL and of pinned memory ask the driver meanwhile
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                losses = []
                for step, inputs in enumerate(self._inputs):
                    lr.copy_(self._lrs[step])
                    losses.append(update(*inputs))
                self._losses = torch.stack(losses)
        except RuntimeError as error:
            raise error.__context__ or error from None  # what ended it, not that it cannot end
        finally:
            torch.cuda.set_stream(current)  # torch leaves its own where a capture cannot end

    def really_runs(self) -> bool:
        """Whether a replay writes the losses; trains on blank data, with all processes."""
        self._losses.fill_(_NO_LOSS)
        self._graph.replay()
        return bool((self._losses != _NO_LOSS).all())

    def replay(self, inputs: Sequence[StepInputs], lrs: Sequence[float]) -> Tensor:
        """Train on `inputs` at `lrs`, one of each per step; gives the losses ``[num_steps]``.

        The losses lie where the next replay writes: copy what is to be kept.
        """
        for ours, given in zip(self._inputs, inputs, strict=True):
            for place, value in zip(ours, given, strict=True):
                if place is not None and value is not None:
                    place.copy_(value, non_blocking=True)
        self._lrs.copy_(torch.tensor(lrs), non_blocking=True)
        self._graph.replay()
        return self._losses


def _static(example: StepInputs, device: torch.device) -> StepInputs:
    images, labels, draws = example
    return (
        torch.zeros_like(images, device=device),
        torch.zeros_like(labels, device=device),
        None if draws is None else torch.zeros_like(draws, device=device),
    )
