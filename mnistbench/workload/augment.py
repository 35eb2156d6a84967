"""Random changes to training images: shift, rotate, elastic, all in one resampling.

The random numbers of a whole global batch are drawn on the CPU and apart from their use, so that
each process takes its rows of the same draws: an image is changed alike on any device and whatever
the number of processes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional

from mnistbench.schema.component import DataShape
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.names import AugmentName

_GRID = 4


class Change(NamedTuple):
    """One kind of random change.

    Attributes:
        num_draws: random numbers that one image takes.
        draw: ``draw(generator, num_samples, config)`` -> float32 ``[num_samples, num_draws]``.
        move: ``move(positions, draws)`` -> positions; both are ``[B, 2, H, W]``, x then y, the
            place in the image that each new pixel is read from [pixels right of and below the
            centre].
    """

    num_draws: int
    draw: Callable[[Generator, int, RunConfig], Tensor]
    move: Callable[[Tensor, Tensor], Tensor]


class Augment:
    """The changes that a config asks for, to whole batches of images."""

    def __init__(self, config: RunConfig) -> None:
        """Changes are drawn and made in the order of `AUGMENTS`, whatever that of the config."""
        self._changes = [change for name, change in AUGMENTS.items() if name in config.augment]
        self._config = config

    def draw(self, generator: Generator, num_samples: int) -> Tensor:
        """The random numbers of a global batch, on the CPU.

        Float32 ``[num_samples, K]``, a row per image: for shift the pixels right and down, for
        rotate the degrees counter-clockwise, for elastic the displacements of a 4 by 4 grid, x then
        y [pixels]. They depend on the state of `generator` and `num_samples` only.
        """
        return torch.cat(
            [change.draw(generator, num_samples, self._config) for change in self._changes], dim=1
        )

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Change images, between pixels linearly; what comes in from outside is background, 0.

        Args:
            images: float32 ``[B, C, H, W]`` with pixels in [0, 1], not normalised.
            draws: ``[B, K]``, the rows of `draw` for these images; best on the images' device
                or in pinned memory, else the copy may wait.

        Returns:
            New images, of the same shape, device and range.
        """
        draws = draws.to(images.device, non_blocking=True)
        if self._changes == [AUGMENTS["shift"]]:
            return _shifted(images, draws)
        height, width = images.shape[2:]
        positions = _centred(images).expand(len(images), -1, -1, -1)
        start = 0
        for change in self._changes:
            positions = change.move(positions, draws[:, start : start + change.num_draws])
            start += change.num_draws
        positions[:, 0].mul_(2 / width)  # the changes made new ones
        positions[:, 1].mul_(2 / height)
        grid = positions.permute(0, 2, 3, 1)
        return functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def shifted_views(images: Tensor, distance: int) -> list[Tensor]:
    """`images` ``[B, C, H, W]`` and, for a `distance` above 0, their shifts by it [pixels].

    Left, right, up and down; what comes in from outside is background, 0.
    """
    if not distance:
        return [images]
    height, width = images.shape[2:]
    wide = functional.pad(images, (distance,) * 4)
    corners = ((1, 1), (1, 0), (1, 2), (0, 1), (2, 1))
    return [
        wide[:, :, distance * top :, distance * left :][:, :, :height, :width]
        for top, left in corners
    ]


def shifted_logits(
    logits_of: Callable[[Tensor], Tensor], images: Tensor, *, distance: int, share: float
) -> Tensor:
    """Mean logits ``[B, num_classes]`` of the `shifted_views` of `images` ``[B, C, H, W]``.

    Below 1, only the `share` of them is shifted whose two largest logits are closest.
    """
    logits = logits_of(images)
    if not distance:
        return logits

    passes = math.ceil(4 * share)

    def mean(images: Tensor, plain: Tensor) -> Tensor:
        # as many passes for any number of images: processes may have to ask for them in step
        views = torch.tensor_split(torch.cat(shifted_views(images, distance)[1:]), passes)
        return torch.cat([plain, *map(logits_of, views)]).view(-1, *plain.shape).mean(dim=0)

    if share == 1:
        return mean(images, logits)
    first, second = logits.topk(2, dim=1).values.unbind(dim=1)
    unsure = (first - second).topk(math.ceil(share * len(images)), largest=False).indices
    changed = mean(images.index_select(0, unsure), logits.index_select(0, unsure))
    return logits.index_copy(0, unsure, changed)


def check_shifts(config: RunConfig, shape: DataShape) -> None:
    """Raise an InputError where a shift moves a whole image of `shape` out of itself."""
    side, form = min(shape.height, shape.width), f"{shape.height} × {shape.width}"
    shift = config.augment_shift_px if "shift" in config.augment else 0
    for field, most in (("augment_shift_px", shift), ("eval_shift_px", config.eval_shift_px)):
        if most >= side:
            said = f"{most} pixels leave nothing of images of {form}; use at most {side - 1}"
            raise InputError(f"{field}: {said}")


def build_augment(config: RunConfig) -> Augment | None:
    """The changes named by ``config.augment``; None if there are none."""
    return Augment(config) if config.augment else None


def _centred(images: Tensor) -> Tensor:
    """Each pixel's own position ``[1, 2, H, W]``, x then y [pixels from the centre]."""
    y, x = (
        torch.arange(size, device=images.device, dtype=images.dtype) - (size - 1) / 2
        for size in images.shape[2:]
    )
    return torch.stack(torch.meshgrid(x, y, indexing="xy"))[None]


def _draw_shift(generator: Generator, num_samples: int, config: RunConfig) -> Tensor:
    """Whole pixels, uniform up to ``augment_shift_px`` each way: strokes stay as sharp."""
    most = config.augment_shift_px
    shape = (num_samples, 2)
    return torch.randint(-most, most + 1, shape, generator=generator, dtype=torch.float32)


def _shift(positions: Tensor, draws: Tensor) -> Tensor:
    return positions - draws[:, :, None, None]


def _shifted(images: Tensor, draws: Tensor) -> Tensor:
    """`_shift` without resampling, which for whole pixels is six times the work."""
    count, _, height, width = images.shape
    each, row, column = (torch.arange(n, device=images.device) for n in (count, height, width))
    columns, rows = (line - draws.long()[:, i, None] for i, line in enumerate((column, row)))
    inside_rows, inside_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    inside = inside_rows[:, :, None] & inside_columns[:, None]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    moved = images[each[:, None, None], :, rows[:, :, None], columns[:, None]]
    return (moved * inside[..., None]).movedim(3, 1).contiguous()


def _draw_rotate(generator: Generator, num_samples: int, config: RunConfig) -> Tensor:
    """Degrees, uniform up to ``augment_rotate_deg`` each way."""
    return (torch.rand(num_samples, 1, generator=generator) * 2 - 1) * config.augment_rotate_deg


def _rotate(positions: Tensor, draws: Tensor) -> Tensor:
    # Multiplied out: as a matrix product it could run in TF32 or bf16, which blurs positions
    angle = draws.deg2rad()[:, :, None]
    cos, sin = angle.cos(), angle.sin()
    x, y = positions.unbind(dim=1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=1)


def _draw_elastic(generator: Generator, num_samples: int, config: RunConfig) -> Tensor:
    """Normal displacements of deviation ``augment_elastic_px`` at the points of the grid."""
    draws = torch.randn(num_samples, 2 * _GRID * _GRID, generator=generator)
    return draws * config.augment_elastic_px


def _elastic(positions: Tensor, draws: Tensor) -> Tensor:
    """A smooth displacement of each pixel (after Simard, Steinkraus and Platt 2003)."""
    field = functional.interpolate(
        draws.reshape(-1, 2, _GRID, _GRID),
        size=positions.shape[2:],
        mode="bicubic",
        align_corners=True,
    )
    return positions + field


AUGMENTS: dict[AugmentName, Change] = {
    "shift": Change(2, _draw_shift, _shift),
    "rotate": Change(1, _draw_rotate, _rotate),
    "elastic": Change(2 * _GRID * _GRID, _draw_elastic, _elastic),
}
"""Every change by the name that a user types."""
