"""What a step minimises, whatever makes the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from mnistbench.workload.batches import Preprocess
from mnistbench.workload.losses import LossFn


class Objective(NamedTuple):
    """What a step minimises, from pixels to the loss.

    Attributes:
        network: logits float32 ``[b, num_classes]`` of normalised images ``[b, C, H, W]``.
        loss_fn: mean loss ``[]`` of logits and labels int64 ``[b]``.
        preprocess: makes the images of those at rest.
        blank: one image of zeros ``[C, H, W]``, as images lie at rest, on the device.
        num_microbatches: into which a process cuts its part of a step.
    """

    network: Callable[[Tensor], Tensor]
    loss_fn: LossFn
    preprocess: Preprocess
    blank: Tensor
    num_microbatches: int = 1
