"""Gradients over all processes: one message, reduced by the library or in one fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from mnistbench.recorder.clock import Timer

T = TypeVar("T")


class GradientAllReduce:
    """The mean of all processes' gradients, all of them in one message.

    These networks are too small to hide several messages behind computing.

    Attributes:
        is_alone: there is one process, and nothing to exchange.
    """

    def __init__(self, num_processes: int, *, exact: bool = False) -> None:
        """`exact` adds in the order of `pairwise_sum`, and sends `num_processes` times as much."""
        self.is_alone = num_processes == 1
        self._num_processes, self._exact = num_processes, exact
        self._timer: Timer | None = None

    @contextmanager
    def timed(self, timer: Timer | None) -> Iterator[None]:
        """Have `timer` measure each exchange inside; without one, none is."""
        before, self._timer = self._timer, timer
        try:
            yield
        finally:
            self._timer = before

    def __call__(self, grads: Sequence[Tensor]) -> Sequence[Tensor]:
        """The mean over processes of each of `grads`, float tensors of any shape."""
        if self.is_alone:
            return grads
        flat = _flat(grads)
        if self._timer is not None:
            self._timer.start()
        total = self._sum(flat)
        if self._timer is not None:
            self._timer.mark()
        return _cut(total / self._num_processes, grads)

    def laid_out(self, grads: Sequence[Tensor]) -> Sequence[Tensor]:
        """This process's own `grads` in memory as a call gives them back."""
        return grads if self.is_alone else _cut(_flat(grads), grads)

    def _sum(self, flat: Tensor) -> Tensor:
        if not self._exact:
            torch.distributed.all_reduce(flat)
            return flat
        every = flat.new_empty(self._num_processes * flat.numel())
        torch.distributed.all_gather_into_tensor(every, flat)
        return pairwise_sum(every.chunk(self._num_processes), torch.add)


def _flat(grads: Sequence[Tensor]) -> Tensor:
    return torch.cat([grad.reshape(-1) for grad in grads])


def _cut(flat: Tensor, grads: Sequence[Tensor]) -> list[Tensor]:
    parts = torch.split(flat, [grad.numel() for grad in grads])
    return [part.view_as(grad) for part, grad in zip(parts, grads, strict=True)]


def pairwise_sum(terms: Iterable[T], add: Callable[[T, T], T]) -> T:
    """The sum of `terms` in the order of a binary tree over them.

    Each run of 2^n terms that begins at a multiple of 2^n is summed by itself first. So terms that
    one process adds, and terms that several do before they add their sums, give the same bits.
    """
    sums: list[tuple[int, T]] = []  # of 2^n terms each, with falling n
    for term in terms:
        size, total = 1, term
        while sums and sums[-1][0] == size:
            total = add(sums.pop()[1], total)
            size *= 2
        sums.append((size, total))
    total = sums.pop()[1]
    while sums:
        total = add(sums.pop()[1], total)
    return total
