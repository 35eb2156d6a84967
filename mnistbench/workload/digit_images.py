"""Images and labels of one split as torchvision's data sets hold them, and their checksum."""

from __future__ import annotations

import hashlib
import warnings

import torch
from torch import Tensor
from torchvision import datasets

from mnistbench.workload.idx_files import ImagesAndLabels

__all__ = ["DigitImages", "content_sha256"]

_BLOCK_IMAGES = 8192


class DigitImages(datasets.MNIST):  # type: ignore[misc]  # torchvision has no types
    """Images and labels, read one by one through torchvision's own ``__getitem__``.

    Attributes:
        data: images, uint8 ``[N, 28, 28]``, upright; with the mapped loader they lie in a file, a
            set that is stored on its side with other strides, and must not be written to.
        targets: labels, int64 ``[N]``, 0 to 9.
    """

    data: Tensor
    targets: Tensor

    def __init__(self, digits: ImagesAndLabels, *, train: bool) -> None:
        # MNIST's own constructor would read files, past the check that was made of them.
        datasets.VisionDataset.__init__(self, "")
        images, labels = digits
        self.train = train
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            self.data, self.targets = torch.from_numpy(images), torch.from_numpy(labels)


def content_sha256(*parts: DigitImages) -> list[str]:
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
