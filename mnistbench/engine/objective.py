"""What a step minimises, whatever makes the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from mnistbench.workload.batches import Preprocess
from mnistbench.workload.losses import LossFn

__all__ = ["Objective"]


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
