"""Arrays of the user's own, in whatever form they come: checked, and counted.

Every error is a ValueError of one line that begins with the name of the array.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mnistbench.schema.component import DataShape
from mnistbench.workload.image_set import label_type

__all__ = ["NAMES", "OwnArrays", "Survey", "checked", "survey"]

NAMES = ("x_train", "y_train", "x_test", "y_test")
"""What data of the user's own consist of, as in the files of Keras."""

_BLOCK_BYTES = 2**24
_CHANNELS = (1, 3)
_CONSTANT = 1e-6  # below this deviation a channel is not scaled

_Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class OwnArrays:
    """Images uint8 or float32 ``[N, C, H, W]``, and labels int64 ``[N]``, in the user's order."""

    x_train: _Array
    y_train: npt.NDArray[np.int64]
    x_test: _Array
    y_test: npt.NDArray[np.int64]

    @property
    def shape(self) -> DataShape:
        """Of one image, and the number of classes."""
        _, channels, height, width = self.x_train.shape
        return DataShape(channels, height, width, int(self.y_train.max()) + 1)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What is found by a pass over all pixels.

    Attributes:
        train_sha256: of the training images and then their labels.
        sha256: of these and the test images and labels.
        pixel_mean: mean of the training pixels in [0, 1] of each channel, to six digits, so that
            it is the same on every machine.
        pixel_std: their deviation; 1 for a channel that has none.
        num_duplicates: test images that are also in train.
    """

    train_sha256: str
    sha256: str
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    num_duplicates: int


def checked(values: list[_Array], *, channels_first: bool = False) -> OwnArrays:
    """Bring arrays, in the order of `NAMES`, into one form.

    With `channels_first` images whose sizes do not tell are ``[N, C, H, W]``.
    """
    x_train, y_train, x_test, y_test = values
    for images, labels, split in ((x_train, y_train, "train"), (x_test, y_test, "test")):
        count = [len(array) if array.ndim else 0 for array in (images, labels)]
        if count[0] != count[1]:
            raise ValueError(f"x_{split}: has {count[0]} images, y_{split} {count[1]} labels")
        if not images.size:
            raise ValueError(f"x_{split}: has no image")
    train, test = (
        _images(images, name, channels_first=channels_first)
        for images, name in ((x_train, "x_train"), (x_test, "x_test"))
    )
    forms = [f"{_said(one.shape[1:])} of {one.dtype}" for one in (train, test)]
    if forms[0] != forms[1]:
        raise ValueError(f"x_test: images are {forms[1]}, of x_train {forms[0]}")
    classes, theirs = _labels(y_train, "y_train"), _labels(y_test, "y_test")
    _check_classes(classes, theirs)
    return OwnArrays(
        x_train=train,
        y_train=classes.astype(np.int64),
        x_test=test,
        y_test=theirs.astype(np.int64),
    )


def _said(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _images(values: _Array, name: str, *, channels_first: bool) -> _Array:
    """`values` as uint8 or float32 ``[N, C, H, W]``; other whole numbers and floats become one."""
    if values.dtype.kind in "bui":
        if values.dtype != np.uint8 and not (values.min() >= 0 and values.max() <= 255):
            said = f"{values.dtype} pixels go from {values.min()} to {values.max()}"
            raise ValueError(f"{name}: {said}; whole numbers should be 0 to 255")
        values = values.astype(np.uint8, copy=False)
    elif values.dtype.kind == "f":
        values = values.astype(np.float32, copy=False)
    else:
        raise ValueError(f"{name}: holds {values.dtype}; images are uint8 or float32")
    if values.ndim == 3:
        return values[:, None]
    if values.ndim != 4:
        form = "[N, H, W], [N, C, H, W] or [N, H, W, C]"
        raise ValueError(f"{name}: its shape {_said(values.shape)} is not {form}")
    is_first, is_last = (values.shape[axis] in _CHANNELS for axis in (1, 3))
    if is_first == is_last and not channels_first:
        raise ValueError(
            f"{name}: its shape {_said(values.shape)} does not tell where channels are: either "
            "the second or the last size should be 1 or 3; or have --dataset MODULE:FUNCTION "
            "return it as a torch tensor [N, C, H, W]"
        )
    return values.transpose(0, 3, 1, 2) if is_last and not is_first else values


def _labels(values: _Array, name: str) -> _Array:
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 1 and values.dtype.kind in "bui":
        return values
    mend = "; take .argmax(axis=1) of one-hot rows" if values.ndim == 2 else ""
    form = f"{values.dtype} of shape {_said(values.shape)}"
    raise ValueError(f"{name}: should be whole numbers [N], not {form}{mend}")


def _check_classes(train: _Array, test: _Array) -> None:
    classes = np.unique(train)
    for expected, label in enumerate(classes.tolist()):
        if label != expected:
            rule = "classes are numbered from 0, and each has a training image"
            raise ValueError(f"y_train: has no label {expected}, but {label}; {rule}")
    if len(classes) == 1:
        raise ValueError("y_train: has one class only; there is nothing to learn")
    unknown = np.setdiff1d(test, classes)
    if unknown.size:
        raise ValueError(f"y_test: has label {unknown[0]}, and y_train 0 to {len(classes) - 1}")


def survey(arrays: OwnArrays) -> Survey:
    """Look at each pixel once; nothing is copied as a whole.

    Raises:
        ValueError: pixels are not finite, or not in [0, 1].
    """
    digest, keys = hashlib.sha256(usedforsecurity=False), dict[str, list[int]]()
    sums, shas = np.zeros((2, arrays.shape.channels)), list[str]()
    for name, images, labels in (
        ("x_train", arrays.x_train, arrays.y_train),
        ("x_test", arrays.x_test, arrays.y_test),
    ):
        keys[name] = []
        for block in _blocks(images):
            if block.dtype != np.uint8:
                _check_range(block, name)
            digest.update(block.data)
            keys[name] += [hash(image.tobytes()) for image in block]
            if name == "x_train":
                pixels = block.astype(np.float64)  # of uint8 the sums are exact
                sums += [pixels.sum((0, 2, 3)), np.square(pixels, out=pixels).sum((0, 2, 3))]
        digest.update(labels.astype(label_type(arrays.shape.num_classes)).data)
        shas.append(digest.hexdigest())
    mean, square = sums / (arrays.x_train.size / arrays.shape.channels)
    scale = 255 if arrays.x_train.dtype == np.uint8 else 1
    deviation = np.sqrt(np.maximum(square - mean * mean, 0)) / scale
    known = set(keys["x_train"])
    return Survey(
        train_sha256=shas[0],
        sha256=shas[1],
        pixel_mean=tuple(float(f"{value:.6g}") for value in mean / scale),
        pixel_std=tuple(float(f"{v:.6g}") if v > _CONSTANT else 1.0 for v in deviation),
        num_duplicates=sum(key in known for key in keys["x_test"]),
    )


def _blocks(images: _Array) -> Iterator[_Array]:
    """`images` in pieces that fit memory, as C has them."""
    size = max(1, _BLOCK_BYTES // max(1, images[0].nbytes))
    for first in range(0, len(images), size):
        yield np.ascontiguousarray(images[first : first + size])


def _check_range(block: _Array, name: str) -> None:
    low, high = block.min(), block.max()
    if not np.isfinite([low, high]).all():
        raise ValueError(f"{name}: has a pixel that is not finite")
    if low < 0 or high > 1:
        mend = "bring them into 0 to 1, such as by / 255, or save 0 to 255 as uint8"
        raise ValueError(f"{name}: float pixels go from {low:g} to {high:g}; {mend}")
