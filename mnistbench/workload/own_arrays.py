"""Arrays of the user's own, in whatever form they come: checked, counted and summed up.

Every error is a ValueError of one line that begins with the name of the array.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mnistbench.schema.component import DataShape
from mnistbench.workload.image_set import ImageSet, LoadedDataset, content_sha256

NAMES = ("x_train", "y_train", "x_test", "y_test")
"""What data of the user's own consist of, as in the files of Keras."""

_CHANNELS = (1, 3)
_CONSTANT = 1e-6  # below this deviation a channel is not scaled

_Array = npt.NDArray[Any]


def checked(arrays: Sequence[_Array], *, channels_first: bool = False) -> LoadedDataset:
    """`arrays`, in the order of `NAMES`, as a data set in the order that they have.

    With `channels_first` images whose sizes do not tell are ``[N, C, H, W]``.
    """
    x_train, x_test = (_images(arrays[i], NAMES[i], channels_first=channels_first) for i in (0, 2))
    y_train, y_test = (_labels(arrays[i], NAMES[i]) for i in (1, 3))
    for x, y, split in ((x_train, y_train, "train"), (x_test, y_test, "test")):
        if len(x) != len(y):
            raise ValueError(f"x_{split}: has {len(x)} images, y_{split} {len(y)} labels")
    forms = [f"{one.dtype} of shape {one.shape[1:]}" for one in (x_train, x_test)]
    if forms[0] != forms[1]:
        raise ValueError(f"x_test: images are {forms[1]}, of x_train {forms[0]}")
    counts = _class_counts(y_train, y_test)
    train, test = ImageSet(x_train, y_train), ImageSet(x_test, y_test)
    pixel_mean, pixel_std = _mean_and_deviation(x_train)
    known = {hash(image.tobytes()) for image in x_train}
    return LoadedDataset(
        train=train,
        test=test,
        sha256=content_sha256(train, test)[1],
        pixel_mean=pixel_mean,
        pixel_std=pixel_std,
        shape=DataShape._make([*x_train.shape[1:], len(counts)]),
        class_counts=tuple(counts),
        num_duplicates=sum(hash(image.tobytes()) in known for image in x_test),
    )


def _images(values: _Array, name: str, *, channels_first: bool) -> _Array:
    """`values` as uint8 or float32 ``[N, C, H, W]``; other whole numbers and floats become one."""
    if values.dtype.kind not in "buif":
        raise ValueError(f"{name}: holds {values.dtype}; images are uint8 or float32")
    if not values.size:
        raise ValueError(f"{name}: has no image")
    low, high, is_float = values.min(), values.max(), values.dtype.kind == "f"
    if not (low >= 0 and high <= (1 if is_float else 255)):
        rule = "finite, 0 to 1; divide 0 to 255 by 255" if is_float else "0 to 255"
        raise ValueError(f"{name}: pixels go from {low} to {high}; {values.dtype} should be {rule}")
    if values.ndim == 3:
        values = values[:, None]
    if values.ndim != 4:
        forms = "[N, H, W], [N, C, H, W] or [N, H, W, C]"
        raise ValueError(f"{name}: is of shape {values.shape}, not {forms}")
    is_first, is_last = (values.shape[axis] in _CHANNELS for axis in (1, 3))
    if is_first == is_last and not channels_first:
        raise ValueError(
            f"{name}: shape {values.shape} does not tell where channels are: the second or the "
            "last size should be 1 or 3, not both; or have a --dataset MODULE:FUNCTION return it "
            "as a torch tensor [N, C, H, W]"
        )
    if is_last and not is_first:
        values = values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values, np.float32 if is_float else np.uint8)


def _labels(values: _Array, name: str) -> npt.NDArray[np.int64]:
    """`values` as int64 ``[N]``; Keras has some as ``[N, 1]``."""
    if values.dtype.kind not in "bui" or values.shape not in [(values.size,), (values.size, 1)]:
        mend = "; take .argmax(axis=1) of one-hot rows" if values.ndim == 2 else ""
        form = f"{values.dtype} of shape {values.shape}"
        raise ValueError(f"{name}: should be whole numbers [N], not {form}{mend}")
    return values.reshape(-1).astype(np.int64)


def _class_counts(train: _Array, test: _Array) -> list[int]:
    classes, counts = np.unique(train, return_counts=True)
    for expected, label in enumerate(classes):
        if label != expected:
            rule = "classes are numbered from 0, and each has a training image"
            raise ValueError(f"y_train: has no label {expected}, but {label}; {rule}")
    if len(classes) == 1:
        raise ValueError("y_train: has one class only; there is nothing to learn")
    if (unknown := np.setdiff1d(test, classes)).size:
        raise ValueError(f"y_test: has label {unknown[0]}, and y_train 0 to {len(classes) - 1}")
    return [int(count) for count in counts]


def _mean_and_deviation(images: _Array) -> list[tuple[float, ...]]:
    """Of the pixels in [0, 1] of each channel, to six digits: the same on every machine."""
    scale, count = 255 if images.dtype == np.uint8 else 1, images.size / images.shape[1]
    # neither makes a copy; of uint8 the sums are exact
    mean = images.sum((0, 2, 3), dtype=np.float64) / count
    square = np.einsum("nchw,nchw->c", images, images, dtype=np.float64) / count
    deviation = np.sqrt(np.maximum(square - mean**2, 0)) / scale
    deviation[deviation < _CONSTANT] = 1
    return [tuple(float(f"{v:.6g}") for v in one) for one in (mean / scale, deviation)]
