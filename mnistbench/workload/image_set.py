"""Images and labels of one split as torchvision's data sets hold them, and their checksum."""

from __future__ import annotations

import hashlib
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import VisionDataset

__all__ = ["ImageSet", "content_sha256"]

_BLOCK_IMAGES = 8192

_PIL_CHANNELS = (1, 3)
"""Channels of a picture, grey or colour, that a pixel of PIL has."""


class ImageSet(VisionDataset):  # type: ignore[misc]  # torchvision has no types
    """Images and labels, read one by one as torchvision's own sets of images in memory are.

    Attributes:
        data: images, uint8 or float32 ``[N, C, H, W]``; with the mapped loader they lie in a file,
            some with other strides, and must not be written to.
        targets: labels, int64 ``[N]``.
        transform: what is made of each image; ``None`` leaves it as it is.
    """

    data: Tensor
    targets: Tensor

    def __init__(self, images: npt.NDArray[Any], labels: npt.NDArray[np.int64]) -> None:
        """Nothing is copied."""
        super().__init__("")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            self.data, self.targets = torch.from_numpy(images), torch.from_numpy(labels)

    def __len__(self) -> int:
        """Images of the split."""
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """A PIL image, or a tensor ``[C, H, W]`` of what PIL does not hold, and its label."""
        image: Any = self.data[index]
        if image.dtype == torch.uint8 and len(image) in _PIL_CHANNELS:
            image = Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())
        return self.transform(image) if self.transform else image, int(self.targets[index])


def content_sha256(*parts: ImageSet) -> list[str]:
    """Checksums of the bytes of the first of `parts`, then of the first two, and so on.

    Of each part they are of its images and then of its labels, a byte for a label.
    """
    digest, found = hashlib.sha256(usedforsecurity=False), []
    for part in parts:
        for images in torch.split(part.data, _BLOCK_IMAGES):  # a copy of all may not fit memory
            digest.update(images.contiguous().numpy().data)
        digest.update(part.targets.to(torch.uint8).numpy().data)
        found.append(digest.hexdigest())
    return found
