"""Images and labels as torchvision's data sets hold them, and their checksum."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mnistbench.schema.component import DataShape

_BLOCK_IMAGES = 8192


class ImageSet(Dataset[tuple[Any, int]]):
    """Images uint8 or float32 ``[N, C, H, W]`` and labels int64 ``[N]``, as torchvision's own sets.

    It is none of theirs, since torchvision takes a second to import.
    With the mapped loader images lie in a file, some with other strides, and must not be written.
    """

    data: Tensor
    targets: Tensor
    transform: Callable[[Any], Any] | None = None

    def __init__(self, images: npt.NDArray[Any], labels: npt.NDArray[np.int64]) -> None:
        """Nothing is copied."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            self.data, self.targets = torch.from_numpy(images), torch.from_numpy(labels)

    def __len__(self) -> int:
        """Images of the split."""
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """A PIL image, or a tensor ``[C, H, W]`` of what PIL does not hold, and its label."""
        from PIL import Image

        image: Any = self.data[index]
        if image.dtype == torch.uint8 and len(image) in (1, 3):
            image = Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())
        return self.transform(image) if self.transform else image, int(self.targets[index])


@dataclass(frozen=True, kw_only=True)
class LoadedDataset:
    """A data set, verified.

    Attributes:
        train: the whole training file, of which val is the end.
        test: the whole test file.
        sha256: of the bytes of train images, train labels, test images and test labels in this
            order; tells contents apart whatever files they came in.
        pixel_mean: mean to take off pixels in [0, 1], for each channel.
        pixel_std: deviation to divide them by, for each channel.
        shape: of one image, and the number of classes.
        class_counts: images of each class in `train`.
        num_duplicates: images of `test` that are also in `train`; none where nobody looked.
        read_ahead: has the kernel begin to read training images at positions, int ``[b]``, of a
            mapped file; none where they are in memory, or in a file as small as published sets.
    """

    train: ImageSet
    test: ImageSet
    sha256: str
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    shape: DataShape
    class_counts: tuple[int, ...]
    num_duplicates: int | None = None
    read_ahead: Callable[[Tensor], None] | None = None


def content_sha256(*parts: ImageSet) -> list[str]:
    """Checksums of the bytes of the first of `parts`, then of the first two, and so on.

    Of each part they are of its images and then of its labels as `label_type` has them.
    """
    digest, found = hashlib.sha256(usedforsecurity=False), []
    for part in parts:
        for images in torch.split(part.data, _BLOCK_IMAGES):  # a copy of all may not fit memory
            digest.update(images.contiguous().numpy().data)
        labels = part.targets.numpy()
        digest.update(labels.astype(label_type(int(labels.max()) + 1)).data)
        found.append(digest.hexdigest())
    return found


def label_type(num_classes: int) -> np.dtype[Any]:
    """How labels lie in files and are hashed: a byte each, as long as that holds every class."""
    return np.dtype(np.uint8 if num_classes <= 256 else "<i8")
