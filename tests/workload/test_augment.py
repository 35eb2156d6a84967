"""Augmentation against rolls, turns and a pixel-by-pixel second implementation."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mnistbench.schema.component import DataShape
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.names import AugmentName
from mnistbench.workload.augment import (
    AUGMENTS,
    Augment,
    build_augment,
    check_shifts,
    shifted_logits,
    shifted_views,
)

NAMES: tuple[AugmentName, ...] = get_args(AugmentName)
SIZE = 28


def augment_of(*names: AugmentName, **values: float) -> Augment:
    augment = build_augment(RunConfig(augment=names, **values))
    assert augment is not None
    return augment


def some_images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def drawn(augment: Augment, count: int, seed: int = 0) -> Tensor:
    return augment.draw(torch.Generator().manual_seed(seed), count)


def shifted(image: Tensor, right: int, down: int) -> Tensor:
    """One image ``[28, 28]`` moved over a background of zeros, by slices."""
    canvas = torch.zeros(3 * SIZE, 3 * SIZE)
    top, left = SIZE + down, SIZE + right
    canvas[top : top + SIZE, left : left + SIZE] = image
    return canvas[SIZE : 2 * SIZE, SIZE : 2 * SIZE]


def read(image: np.ndarray, x: float, y: float) -> float:
    """The pixel at column x, row y, from its four neighbours; 0 outside."""
    left, top, total = math.floor(x), math.floor(y), 0.0
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < SIZE and 0 <= column < SIZE:
                total += image[row, column] * (1 - abs(x - column)) * (1 - abs(y - row))
    return total


def turned(image: np.ndarray, draws: list[float]) -> np.ndarray:
    """Shift then turn one image, pixel by pixel: where did each new pixel come from?"""
    right, down, degrees = draws
    middle, turn = (SIZE - 1) / 2, complex(0, math.radians(degrees))
    new = np.zeros((SIZE, SIZE))
    for row in range(SIZE):
        for column in range(SIZE):
            place = complex(column - right - middle, row - down - middle)
            place *= np.exp(turn)
            new[row, column] = read(image, place.real + middle, place.imag + middle)
    return new


def test_registry_has_exactly_the_names():
    assert tuple(AUGMENTS) == NAMES


def test_none_without_changes():
    assert build_augment(RunConfig()) is None


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_on_is_drawn(name):
    widths = {"shift": 2, "rotate": 1, "elastic": 32}
    draws = drawn(augment_of(name), 5)
    assert draws.shape == (5, widths[name])
    assert draws.dtype == torch.float32
    assert drawn(augment_of(*NAMES), 5).shape == (5, 35)


@pytest.mark.parametrize("names", [(name,) for name in NAMES] + [NAMES])
def test_zero_draws_are_the_identity(names):
    images, augment = some_images(3), augment_of(*names)
    same = augment.apply(images, torch.zeros_like(drawn(augment, 3)))
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)
    assert same.data_ptr() != images.data_ptr()


@settings(max_examples=20, deadline=None)
@given(
    moves=st.lists(st.tuples(st.integers(-14, 14), st.integers(-14, 14)), min_size=1, max_size=5)
)
def test_shift_rolls_over_zeros(moves):
    images = some_images(len(moves))
    moved = augment_of("shift").apply(images, torch.tensor(moves, dtype=torch.float32))
    expected = [shifted(image[0], *move) for image, move in zip(images, moves, strict=True)]
    torch.testing.assert_close(moved[:, 0], torch.stack(expected), atol=2e-5, rtol=0)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 4), st.integers(4, 30), st.integers(4, 30)),
    names=st.sampled_from([*((name,) for name in NAMES), NAMES]),
)
def test_each_channel_of_an_image_of_any_shape_is_changed_alike(
    sizes: tuple[int, int, int], names: tuple[AugmentName, ...]
) -> None:
    images = torch.rand(3, *sizes, generator=torch.Generator().manual_seed(0))
    augment = augment_of(*names, augment_shift_px=3)
    draws = drawn(augment, 3)
    changed = augment.apply(images, draws)
    assert changed.is_contiguous()
    alone = [augment.apply(images[:, [channel]], draws) for channel in range(sizes[0])]
    torch.testing.assert_close(changed, torch.cat(alone, dim=1), atol=1e-6, rtol=0)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(2, 20), st.integers(1, 8)),
    wide=st.booleans(),
    draw=st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.floats(-180, 180)),
)
def test_pixels_that_are_wider_than_high_are_those_of_the_square_around_them(
    sizes: tuple[int, int, int], wide: bool, draw: tuple[int, int, float]
) -> None:
    channels, height, border = sizes
    side = height + 2 * border
    square = torch.zeros(1, channels, side, side)
    inside = (
        [slice(border, -border), slice(None)] if wide else [slice(None), slice(border, -border)]
    )
    part = (slice(None), slice(None), *inside)
    square[part] = torch.rand(square[part].shape, generator=torch.Generator().manual_seed(0))
    for names, draws in ((("shift",), draw[:2]), (("shift", "rotate"), draw)):
        augment = augment_of(*names)
        changed = augment.apply(square[part].contiguous(), torch.tensor([draws]).float())
        expected = augment.apply(square, torch.tensor([draws]).float())[part]
        torch.testing.assert_close(changed, expected, atol=1e-4, rtol=0)


@given(
    st.tuples(*[st.integers(1, most) for most in (3, 4, 12, 12)]), st.integers(0, 11), st.booleans()
)
def test_views_are_shifted_by_slices(sizes: tuple[int, ...], distance: int, in_bytes: bool) -> None:
    images = torch.rand(sizes, generator=torch.Generator().manual_seed(0))
    images = (255 * images).byte() if in_bytes else images
    views = shifted_views(images, distance)
    moves = [(0, 0), *((d, 0) for d in (-distance, distance)), (0, -distance), (0, distance)]
    if not distance:
        assert len(views) == 1
    for view in views:
        assert (view.shape, view.dtype) == (images.shape, images.dtype)
    seen = set()
    for right, down in moves[: len(views)]:
        padded = torch.nn.functional.pad(images, (12, 12, 12, 12))
        moved = padded.roll((down, right), dims=(2, 3))[:, :, 12:-12, 12:-12]
        seen |= {index for index, view in enumerate(views) if torch.equal(view, moved)}
    assert seen == set(range(len(views)))


@given(st.integers(1, 40), st.floats(0.01, 1), st.integers(1, 3))
def test_only_the_least_sure_images_are_seen_shifted(number, share, distance):
    images = torch.rand((number, 1, 9, 9), generator=torch.Generator().manual_seed(number))
    weights = torch.randn((81, 10), generator=torch.Generator().manual_seed(0))
    plain, whole, part = (
        shifted_logits(lambda view: view.flatten(1) @ weights, images, distance=away, share=of)
        for away, of in ((0, 1.0), (distance, 1.0), (distance, share))
    )
    views = [view.flatten(1) @ weights for view in shifted_views(images, distance)]
    torch.testing.assert_close(whole, torch.stack(views).mean(dim=0))
    first, second = plain.topk(2, dim=1).values.unbind(1)
    unsure = (first - second).argsort()[: -int(-share * number // 1)]
    expected = plain.clone()
    expected[unsure] = whole[unsure]
    torch.testing.assert_close(part, expected)


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_any_batch_takes_as_many_passes(share):
    passes = []
    for number in (1, 7, 333, 334):
        seen = []
        shifted_logits(
            lambda view, seen=seen: seen.append(len(view)) or view.flatten(1),
            torch.rand(number, 1, 4, 4),
            distance=1,
            share=share,
        )
        passes.append(len(seen))
    assert len(set(passes)) == 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"eval_shift_px": 8}, "eval_shift_px: 8 pixels leave nothing of images of 8 × 30; use at"),
        (
            {"augment": ("shift",), "augment_shift_px": 9},
            "augment_shift_px: 9 pixels leave",
        ),
        ({"augment": ("shift",), "augment_shift_px": 7, "eval_shift_px": 7}, None),
        ({"augment": ("rotate",), "augment_shift_px": 9}, None),
    ],
    ids=str,
)
def test_a_shift_out_of_the_image_is_refused(values: dict[str, Any], said: str | None) -> None:
    expected = nullcontext() if said is None else pytest.raises(InputError, match=f"^{said}")
    with expected:
        check_shifts(RunConfig(**values), DataShape(3, 8, 30, 5))


@pytest.mark.parametrize("quarters", [-1, 1, 2])
def test_quarter_turns_are_rot90(quarters):
    images = some_images(2)
    turned_images = augment_of("rotate").apply(images, torch.full((2, 1), 90.0 * quarters))
    expected = torch.rot90(images, quarters, dims=(2, 3))
    torch.testing.assert_close(turned_images, expected, atol=2e-5, rtol=0)


def test_shift_and_turn_together_read_each_pixel_once():
    draws = torch.tensor([[3.0, -2.0, 25.0], [0.0, 1.0, -160.0]])
    images = some_images(2)
    new = augment_of("shift", "rotate").apply(images, draws)
    for image, changed, draw in zip(images, new, draws.tolist(), strict=True):
        expected = turned(image[0].double().numpy(), draw)
        np.testing.assert_allclose(changed[0].numpy(), expected, atol=2e-5)


def test_an_even_elastic_field_is_a_shift():
    draws = torch.cat([torch.full((1, 16), 3.0), torch.full((1, 16), -2.0)], dim=1)
    images = some_images(1)
    new = augment_of("elastic").apply(images, draws)
    torch.testing.assert_close(new[0, 0], shifted(images[0, 0], -3, 2), atol=2e-5, rtol=0)


def test_elastic_moves_the_corners_by_the_draws():
    draws = drawn(augment_of("elastic", augment_elastic_px=2.0), 4)
    field = AUGMENTS["elastic"].move(torch.zeros(4, 2, SIZE, SIZE), draws)
    torch.testing.assert_close(field[:, :, 0, 0], draws.view(4, 2, 16)[:, :, 0])
    torch.testing.assert_close(field[:, :, -1, -1], draws.view(4, 2, 16)[:, :, -1])


def test_elastic_has_no_creases():
    point = torch.zeros(1, 32).index_fill_(1, torch.tensor(5), 1.0)
    field = AUGMENTS["elastic"].move(torch.zeros(1, 2, SIZE, SIZE), point)
    assert field.max().item() == pytest.approx(1, abs=1e-6)
    # straight lines between points 9 pixels apart would bend by 2 / 9 at the point
    assert field.diff(n=2, dim=3).abs().max() < 0.1


def test_elastic_keeps_a_flat_image_flat_inside():
    flat = torch.ones(8, 1, SIZE, SIZE)
    augment = augment_of("elastic")
    new = augment.apply(flat, drawn(augment, 8))
    torch.testing.assert_close(new[..., 8:-8, 8:-8], flat[..., 8:-8, 8:-8])


@settings(max_examples=20, deadline=None)
@given(most=st.integers(1, 14), degrees=st.floats(0.5, 180), seed=st.integers(0, 1000))
def test_draws_stay_in_their_ranges(most, degrees, seed):
    augment = augment_of("shift", "rotate", augment_shift_px=most, augment_rotate_deg=degrees)
    moves, turns = drawn(augment, 400, seed).split([2, 1], dim=1)
    assert torch.equal(moves, moves.round())
    assert moves.max() == most
    assert moves.min() == -most
    assert turns.abs().max() <= degrees
    assert turns.std().item() == pytest.approx(degrees / math.sqrt(3), rel=0.15)


@pytest.mark.parametrize("deviation", [0.5, 4.0])
def test_elastic_draws_have_the_deviation_asked_for(deviation):
    draws = drawn(augment_of("elastic", augment_elastic_px=deviation), 2000)
    assert draws.std().item() == pytest.approx(deviation, rel=0.02)
    assert draws.mean().item() == pytest.approx(0, abs=0.02 * deviation)


@pytest.mark.parametrize("names", [(name,) for name in NAMES] + [NAMES])
@pytest.mark.parametrize("cuts", [(8,), (3, 5), (1, 0, 4, 3)])
def test_processes_with_slices_of_the_draws_make_the_same_images(names, cuts):
    images, augment = some_images(8), augment_of(*names)
    draws = drawn(augment, 8)
    whole = augment.apply(images, draws)
    parts = [
        augment.apply(*pair) for pair in zip(images.split(cuts), draws.split(cuts), strict=True)
    ]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("names", [(name,) for name in NAMES] + [NAMES])
def test_the_generator_alone_decides(names):
    augment = augment_of(*names)
    torch.manual_seed(1)
    first = drawn(augment, 16, seed=5)
    torch.manual_seed(2)
    assert torch.equal(drawn(augment, 16, seed=5), first)
    assert not torch.equal(drawn(augment, 16, seed=6), first)
    generator = torch.Generator().manual_seed(5)
    assert torch.equal(augment.draw(generator, 16), first)
    assert not torch.equal(augment.draw(generator, 16), first)


def test_the_order_of_the_names_does_not_matter():
    first, second = augment_of(*NAMES), augment_of(*NAMES[::-1])
    draws = drawn(first, 4)
    assert torch.equal(draws, drawn(second, 4))
    assert torch.equal(first.apply(some_images(4), draws), second.apply(some_images(4), draws))


@pytest.mark.parametrize("names", [(name,) for name in NAMES] + [NAMES])
@pytest.mark.parametrize("count", [1, 6])
def test_images_keep_their_shape_type_device_and_range(names, count):
    images, augment = some_images(count), augment_of(*names)
    before = images.clone()
    new = augment.apply(images, drawn(augment, count))
    assert (new.shape, new.dtype, new.device) == (images.shape, torch.float32, images.device)
    assert new.min() >= 0
    assert new.max() <= 1 + 1e-6
    assert torch.equal(images, before), "the images given must stay as they were"
    assert not torch.equal(new, images)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_same_on_the_gpu_without_waiting_for_it():
    images, augment = some_images(64), augment_of(*NAMES)
    draws = drawn(augment, 64)
    on_gpu, draws_on_gpu = images.cuda(), draws.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        new = augment.apply(on_gpu, draws_on_gpu)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(new.cpu(), augment.apply(images, draws), atol=1e-4, rtol=0)
