"""The built-in digits: the same bytes everywhere, in any number, and worth learning."""

from __future__ import annotations

import hashlib
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnistbench.workload import generated
from mnistbench.workload.generated import IMAGE_SIDE, Split, generate_digits
from mnistbench.workload.glyphs import (
    GLYPHS,
    LEVELS_PER_PX,
    SHEET_CELLS,
    glyph_points,
    write,
)

SPLITS: tuple[Split, ...] = ("train", "test")

ImagesAndLabels = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def digits() -> dict[Split, ImagesAndLabels]:
    return {split: generate_digits(3000, seed=0, split=split) for split in SPLITS}


@pytest.mark.parametrize(
    ("split", "images_sha256", "labels_sha256"),
    [
        (
            "train",
            "b834201a456ae6024fc5c6e95d7c2f6f8819f9600b70b228ce8299d6f82b15e6",
            "c2b716b99d508dc067ac6a8ee0877dcb3f7f1afdc2171d753c0c018a75abe45c",
        ),
        (
            "test",
            "926f4ccdbc5abc9c1caed4482407b0d362bc85736a0874f79ab82616b4e3a76a",
            "57b44f2397e9e075d09ff418cb1cd5ff17e52e63d4f715b9707c5cb12e18aff9",
        ),
    ],
)
def test_first_thousand_of_seed_0_are_the_bytes_they_always_were(
    split: Split, images_sha256: str, labels_sha256: str
) -> None:
    images, labels = generate_digits(1000, seed=0, split=split)
    assert hashlib.sha256(images.tobytes()).hexdigest() == images_sha256
    assert hashlib.sha256(labels.astype(np.uint8).tobytes()).hexdigest() == labels_sha256


@pytest.mark.parametrize("num_images", [0, 1, 127, 128, 129])
def test_shapes_and_types(num_images: int) -> None:
    images, labels = generate_digits(num_images, seed=3, split="train")
    assert images.shape == (num_images, IMAGE_SIDE, IMAGE_SIDE)
    assert images.dtype == np.uint8
    assert labels.shape == (num_images,)
    assert labels.dtype == np.int64


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.tuples(st.integers(0, 300), st.integers(0, 300)),
    split=st.sampled_from(SPLITS),
)
def test_a_larger_set_starts_with_the_smaller(
    seed: int, sizes: tuple[int, int], split: Split
) -> None:
    small, large = (generate_digits(size, seed=seed, split=split) for size in sorted(sizes))
    np.testing.assert_array_equal(large[0][: len(small[0])], small[0])
    np.testing.assert_array_equal(large[1][: len(small[1])], small[1])


@settings(max_examples=15, deadline=None)
@given(first=st.integers(0, 2000), size=st.integers(0, 300), split=st.sampled_from(SPLITS))
def test_a_piece_from_the_middle_is_that_piece(
    digits: dict[Split, ImagesAndLabels], first: int, size: int, split: Split
) -> None:
    piece = generate_digits(size, seed=0, split=split, first=first)
    for ours, whole in zip(piece, digits[split], strict=True):
        np.testing.assert_array_equal(ours, whole[first : first + size])


@pytest.mark.parametrize("chunk_images", [1, 7, 300, 10_000])
def test_no_byte_depends_on_the_chunks(
    monkeypatch: pytest.MonkeyPatch, digits: dict[Split, ImagesAndLabels], chunk_images: int
) -> None:
    monkeypatch.setattr(generated, "CHUNK_IMAGES", chunk_images)
    images, labels = generate_digits(400, seed=0, split="test")
    np.testing.assert_array_equal(images, digits["test"][0][:400])
    np.testing.assert_array_equal(labels, digits["test"][1][:400])


@settings(max_examples=15, deadline=None)
@given(seeds=st.sets(st.integers(0, 2**32 - 1), min_size=2, max_size=3))
def test_other_seeds_give_other_images(seeds: set[int]) -> None:
    sets = [generate_digits(64, seed=seed, split="train") for seed in sorted(seeds)]
    for (images, labels), (other_images, other_labels) in pairwise(sets):
        assert (images != other_images).any(axis=(1, 2)).all()
        assert (labels != other_labels).sum() > 32  # nine in ten differ by chance


def test_the_splits_have_no_image_in_common(digits: dict[Split, ImagesAndLabels]) -> None:
    train, test = ({image.tobytes() for image in digits[split][0]} for split in SPLITS)
    assert len(train) == len(test) == 3000  # nor one twice
    assert not train & test


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_balanced_and_in_no_order(
    digits: dict[Split, ImagesAndLabels], split: Split
) -> None:
    labels = digits[split][1]
    counts = np.bincount(labels, minlength=10)
    assert len(counts) == 10
    # five deviations of a fair draw: 300 of each, give or take 82
    assert np.abs(counts - 300).max() < 82
    repeats = int((labels[1:] == labels[:-1]).sum())
    assert abs(repeats - 300) < 82


@pytest.mark.parametrize("split", SPLITS)
def test_images_are_bright_strokes_on_black(
    digits: dict[Split, ImagesAndLabels], split: Split
) -> None:
    images = digits[split][0]
    assert 0.12 < images.mean() / 255 < 0.14
    assert 0.28 < images.std() / 255 < 0.30
    assert images.max() > 250
    assert (images == 0).mean() > 0.7
    assert (images.max(axis=(1, 2)) > 100).all()  # none is blank


def nearest_mean_accuracy(train: ImagesAndLabels, test: ImagesAndLabels) -> float:
    means = np.stack([train[0][train[1] == digit].mean(axis=0) for digit in range(10)])
    gaps = test[0].reshape(-1, 1, 784) - means.reshape(1, 10, 784)
    return float(((gaps**2).sum(axis=2).argmin(axis=1) == test[1]).mean())


def test_digits_can_be_told_apart_but_not_by_their_means(
    digits: dict[Split, ImagesAndLabels],
) -> None:
    # MNIST: 0.82 by the same rule
    test = tuple(part[:1000] for part in digits["test"])
    assert 0.6 < nearest_mean_accuracy(digits["train"], test) < 0.9


def test_memory_beside_the_images_is_small(digits: dict[Split, ImagesAndLabels]) -> None:
    tracemalloc.start()
    images, labels = generate_digits(20_000, seed=1, split="train")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - images.nbytes - labels.nbytes < 16 * 2**20


def test_numpys_own_random_state_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    generate_digits(10, seed=0, split="train")
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_every_digit_has_several_hands_within_the_sheet() -> None:
    assert len(GLYPHS) == 10
    for styles in GLYPHS:
        assert len(styles) >= 4
        for glyph in styles:
            points = np.array(glyph_points(glyph))
            assert points.min() >= 0
            assert points.max() <= 100


def test_a_map_holds_distances_to_the_stroke() -> None:
    # one upright line through the middle, from the top of the box to its end
    (sheet,) = write(("50,0 50,100",), np.zeros((1, 2, 2), np.float32))
    middle = (SHEET_CELLS - 1) / 2
    assert sheet.shape == (SHEET_CELLS, SHEET_CELLS)
    for column in range(SHEET_CELLS):
        distance_px = abs(column - middle) / 3
        expected = min(distance_px, 4) * LEVELS_PER_PX
        assert abs(int(sheet[42, column]) - expected) <= 1
    assert abs(int(sheet[6, 42]) - np.hypot(5.5, 0.5) / 3 * LEVELS_PER_PX) <= 1


def test_offsets_move_equal_points_together() -> None:
    glyph = ("20,20 80,20 80,20 80,80", "80,20 20,80")
    assert glyph_points(glyph) == ((20, 20), (80, 20), (80, 80), (20, 80))
    offsets = np.zeros((2, 4, 2), np.float32)
    offsets[1, 1] = (-10, 10)
    still, moved = write(glyph, offsets)
    assert (still != moved).any()
    row, column = 41.5 + 0.6 * -20, 41.5 + 0.51 * 20  # where 70,30 lies
    assert moved[round(row), round(column)] < 0.3 * LEVELS_PER_PX
    np.testing.assert_array_equal(still, write(glyph, offsets[:1])[0])
