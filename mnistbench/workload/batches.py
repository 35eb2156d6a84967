"""Batches: one order for any number of processes, and two ways to read it in this process.

The order of samples depends on the seed and the epoch only. Each step's global batch is cut into
one contiguous part per process, so 1, 2 or 8 processes train on the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from mnistbench.workload.augment import Augment
from mnistbench.workload.mapped_files import disk_waits

_STRIDE = 1_000_003
"""Keeps the orders of neighbouring (seed, epoch) pairs apart: more epochs than any run has."""

_READ_AHEAD_STEPS = 100
"""Steps for which images are asked for ahead, once a step had to wait for the disk."""


class BatchShard(NamedTuple):
    """What one process does in one step.

    Attributes:
        indices: positions in the training split, int32 ``[b]``, on the CPU.
        step: 0-based step of the run.
        offset: where the part begins in the global batch [samples].
        global_size: samples in the global batch.
        weight: factor for this process's mean loss, so that the mean over processes is the mean
            over the global batch also where the parts are uneven; 0 for a process without samples.
    """

    indices: Tensor
    step: int
    offset: int
    global_size: int
    weight: float


class Batch(NamedTuple):
    """Images ``[b, C, H, W]`` as at rest and labels int64 ``[b]`` on the device; their shard."""

    images: Tensor
    labels: Tensor
    part: BatchShard


def blank_inputs(shard: BatchShard, blank: Tensor) -> tuple[Tensor, Tensor]:
    """Images like `blank` ``[C, H, W]`` and labels int64 ``[b]``, as many as `shard`, all zero."""
    count = len(shard.indices)
    images = blank.new_zeros(count, *blank.shape)
    return images, torch.zeros(count, dtype=torch.int64, device=blank.device)


StepInputs = tuple[Tensor, Tensor, Tensor | None]
"""Images ``[b, C, H, W]``, labels int64 ``[b]`` and, with augmentation, its random draws."""


class MicroBatch(NamedTuple):
    """Some of `StepInputs`, and which `share` of their samples it holds."""

    images: Tensor
    labels: Tensor
    draws: Tensor | None
    share: float


def microbatches(inputs: StepInputs, number: int) -> Iterator[MicroBatch]:
    """Cut `inputs` into `number` pieces, as even as can be.

    Where samples are fewer, some pieces repeat one at share 0: every process has as many pieces.
    """
    if number == 1:  # the usual case, once a step
        yield MicroBatch(*inputs, 1.0)
        return
    images, labels, draws = inputs
    count = len(images)
    for index in range(number):
        cut = slice(index * count // number, (index + 1) * count // number)
        share = (cut.stop - cut.start) / count
        if not share:
            cut = slice(0, 1)
        yield MicroBatch(images[cut], labels[cut], None if draws is None else draws[cut], share)


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """Which samples each step of a run trains on, for one of `num_processes` processes."""

    num_samples: int
    global_batch_size: int
    num_steps: int
    seed: int
    process_index: int = 0
    num_processes: int = 1
    first_step: int = 0

    def after(self, step: int) -> BatchPlan:
        """What is left of the plan after `step` steps: the batches are the same."""
        return replace(self, first_step=step)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass; the last may be smaller, no sample is left out."""
        return -(-self.num_samples // self.global_batch_size)

    def samples_seen(self, step: int) -> int:
        """Samples trained on, over all processes, after `step` steps."""
        epochs, steps = divmod(step, self.steps_per_epoch)
        return epochs * self.num_samples + min(steps * self.global_batch_size, self.num_samples)

    def parts(self) -> Iterator[BatchShard]:
        """This process's part of each step, in order."""
        order = torch.empty(0, dtype=torch.int32)
        for step in range(self.first_step, self.num_steps):
            epoch, position = divmod(step, self.steps_per_epoch)
            if position == 0 or step == self.first_step:
                order = epoch_order(self.num_samples, seed=self.seed, epoch=epoch)
            yield self._part(order, step)

    def warmup_shards(self) -> list[BatchShard]:
        """The first and the last part of an epoch: all shapes that a run meets, as positions 0."""
        order = torch.zeros(1, dtype=torch.int32).expand(self.num_samples)
        return [self._part(order, step) for step in (0, self.steps_per_epoch - 1)]

    def _part(self, order: Tensor, step: int) -> BatchShard:
        start = step % self.steps_per_epoch * self.global_batch_size
        size = min(self.global_batch_size, self.num_samples - start)
        low = self.process_index * size // self.num_processes
        high = (self.process_index + 1) * size // self.num_processes
        weight = (high - low) * self.num_processes / size
        if high == low:  # a mean over nothing is NaN: any sample serves, at weight 0
            low, high = 0, 1
        return BatchShard(order[start + low : start + high], step, low, size, weight)


def epoch_order(num_samples: int, *, seed: int, epoch: int) -> Tensor:
    """The order of one epoch: a permutation int32 ``[num_samples]``, the same on every device."""
    generator = torch.Generator().manual_seed(seed * _STRIDE + epoch)
    # int64 would be the same permutation in twice the memory and time
    return torch.randperm(num_samples, generator=generator, dtype=torch.int32)


def resident_batches(plan: BatchPlan, *, images: Tensor, labels: Tensor) -> Iterator[Batch]:
    """Batches gathered from images ``[N, C, H, W]`` and labels that all lie on the device."""
    for part in plan.parts():
        # index_select: on uint8 and the CPU, plain indexing is some fifteen times slower
        indices = part.indices.to(images.device, non_blocking=True)
        yield Batch(images.index_select(0, indices), labels.index_select(0, indices), part)


def mapped_batches(
    plan: BatchPlan,
    *,
    images: Tensor,
    labels: Tensor,
    device: torch.device,
    read_ahead: Callable[[Tensor], None] | None = None,
) -> Iterator[Batch]:
    """The same batches gathered from images that lie in a memory-mapped file.

    Args:
        plan: the order.
        images: ``[N, C, H, W]`` in the file; their labels are in memory.
        labels: int64 ``[N]``.
        device: where the batches go.
        read_ahead: takes the positions of the next batch and begins to read them, so that the disk
            works while this batch is trained on; called as long as the disk is waited for now and
            then, because it costs time where the file is in memory.
    """
    parts, reads_ahead_until = plan.parts(), 0
    part = next(parts, None)
    while part is not None:
        waits = disk_waits()
        batch = Batch(
            moved(images.index_select(0, part.indices), device),
            moved(labels.index_select(0, part.indices), device),
            part,
        )
        if disk_waits() > waits:
            reads_ahead_until = part.step + _READ_AHEAD_STEPS
        upcoming = next(parts, None)
        if read_ahead is not None and upcoming is not None and part.step < reads_ahead_until:
            read_ahead(upcoming.indices)
        yield batch
        part = upcoming


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`, which need not have it yet: a GPU copies it beside what it computes."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # else the copy would wait


class Preprocess:
    """Turns images, uint8 or float32 in [0, 1], into normalised float32 ``[b, C, H, W]``."""

    def __init__(
        self,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        augment: Augment | None = None,
        seed: int = 0,
        device: torch.device | None = None,
    ) -> None:
        """`mean` and `std` are of each channel's pixels in [0, 1]; `seed` is the augmentation's."""
        self._augment, self._seed, self._generator = augment, seed, torch.Generator()
        values = [(m, s, m / s, 1 / s, 1 / (255 * s)) for m, s in zip(mean, std, strict=True)]
        self._mean, self._std, self._offset, self._scale, self._scale_bytes = (
            # one number for all channels costs less than a tensor
            each[0] if len(set(each)) == 1 else torch.tensor(each, device=device)[:, None, None]
            for each in zip(*values, strict=True)
        )

    def __call__(self, images: Tensor, part: BatchShard | None = None) -> Tensor:
        """Images for a model; without `part`, as in an evaluation, nothing is augmented."""
        return self.apply(images, None if part is None else self.draw(part))

    def draw(self, part: BatchShard) -> Tensor | None:
        """The random numbers of `part`'s augmentation ``[b, K]``, on the CPU; None without any."""
        if self._augment is None:
            return None
        # drawn for the global batch, by step: the same noise for any number of processes
        self._generator.manual_seed(self._seed * _STRIDE + part.step)
        draws = self._augment.draw(self._generator, part.global_size)
        return draws[part.offset : part.offset + len(part.indices)]

    def apply(self, images: Tensor, draws: Tensor | None) -> Tensor:
        """Images for a model, changed as `draws` say; nothing here looks at data from Python."""
        pixels = images.to(torch.float32, copy=True)  # the images themselves stay as they are
        in_bytes = images.dtype == torch.uint8
        if self._augment is None or draws is None:
            scale = self._scale_bytes if in_bytes else self._scale
            return pixels.mul_(scale).sub_(self._offset)
        changed = self._augment.apply(pixels.div_(255) if in_bytes else pixels, draws)
        return changed.sub_(self._mean).div_(self._std)
