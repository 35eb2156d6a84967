"""Training sets, written to a file once and read where they lie, mapped into memory.

The kernel brings in the pages that are touched and drops them again where memory is short, so a
set may be larger than memory. A file holds the images, then the labels, then the sha256 of both; it
is written aside and renamed, so that any number of processes may want it at once.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mnistbench.schema.component import DataShape
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import cache_folder, written_aside
from mnistbench.workload.generated import CHUNK_IMAGES, DIGIT_SHAPE, generate_digits
from mnistbench.workload.idx_files import ImagesAndLabels
from mnistbench.workload.image_set import label_type

_log = logging.getLogger(__name__)

_SHA256_BYTES = 32
_BLOCK_IMAGES = 8192


@dataclass(frozen=True, kw_only=True)
class MappedImages:
    """What an `ImageFile` holds; nothing is read from it before it is touched.

    Attributes:
        images: uint8 or float32 ``[N, C, H, W]`` in the file, read-only.
        labels: int64 ``[N]``, in memory.
        path: the file.
        sha256: of the bytes of images and labels, when they were written.
        memory: the whole file.
    """

    images: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]
    path: Path
    sha256: str
    memory: mmap.mmap

    def check(self, sha256: str) -> None:
        """Check that the bytes that are there now have the checksum they were written with.

        From then on the kernel does not read on behind each image that is touched, some MiB for
        nothing: batches take them in any order, where a checksum takes them in their own.

        Raises:
            InputError: they have not.
        """
        if sha256 != self.sha256:
            raise InputError(f"{self.path}: checksum mismatch; delete it and run again")
        if hasattr(self.memory, "madvise"):
            self.memory.madvise(mmap.MADV_RANDOM)

    def read_ahead(self, rows: Tensor) -> None:
        """Have the kernel begin to read the images at `rows`, int ``[b]``, without waiting."""
        if not hasattr(self.memory, "madvise"):
            return
        num_bytes = self.images[0].nbytes
        for row in rows.tolist():
            start = row * num_bytes
            page = start - start % mmap.PAGESIZE
            self.memory.madvise(mmap.MADV_WILLNEED, page, start + num_bytes - page)


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """Where a training set lies as one file, and how it is made.

    Attributes:
        path: its place; the name has to tell all that the content follows from.
        num_images: images in it.
        shape: of an image, and the number of classes.
        dtype: of a pixel.
        blocks: makes the content anew, in pieces that fit memory, images ``[n, C, H, W]``.
    """

    path: Path
    num_images: int
    shape: DataShape
    dtype: npt.DTypeLike = np.uint8
    blocks: Callable[[], Iterable[ImagesAndLabels]]

    @property
    def _ends(self) -> tuple[int, int]:
        """Where images and labels end [bytes]."""
        pixels = self.num_images * prod(self.shape[:3]) * np.dtype(self.dtype).itemsize
        return pixels, pixels + self.num_images * label_type(self.shape.num_classes).itemsize

    @property
    def num_bytes(self) -> int:
        """Size of the whole file [bytes]."""
        return self._ends[1] + _SHA256_BYTES

    def ensure(self) -> None:
        """Write the file, unless one of the right size is there.

        Raises:
            InputError: it cannot be written.
        """
        with suppress(OSError):
            if self.path.stat().st_size == self.num_bytes:
                return
        _log.info(f"writing {self.num_bytes / 1e6:,.0f} MB to {self.path}, kept for later runs")
        digest, all_labels = hashlib.sha256(usedforsecurity=False), bytearray()
        mend = ", or use --loader resident"
        with (
            written_aside(self.path, self.num_bytes, otherwise=mend) as aside,
            aside.open("xb") as stream,
        ):
            for images, labels in self.blocks():
                stream.write(images.data)
                digest.update(images.data)
                all_labels += labels.astype(label_type(self.shape.num_classes)).data
            digest.update(all_labels)
            stream.write(all_labels + digest.digest())

    def open(self) -> MappedImages:
        """Map the file into memory, written before if need be.

        Raises:
            InputError: it cannot be written or read.
        """
        self.ensure()
        try:
            with self.path.open("rb") as stream:
                memory = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            mend = "check its permissions, or use --loader resident"
            raise InputError(f"{self.path}: cannot be read ({error.strerror}); {mend}") from None
        data = np.frombuffer(memory, np.uint8)
        images, labels, sha256 = np.split(data, self._ends)
        return MappedImages(
            images=images.view(self.dtype).reshape(self.num_images, *self.shape[:3]),
            labels=labels.view(label_type(self.shape.num_classes)).astype(np.int64),
            path=self.path,
            sha256=sha256.tobytes().hex(),
            memory=memory,
        )


def generated_file(num_images: int, *, seed: int) -> ImageFile:
    """The first `num_images` of the generated digits' train split, below the user's cache folder.

    Its name holds a checksum of the first of them, for the day when the generator changes.

    Raises:
        InputError: the user has no home folder.
    """

    def blocks() -> Iterator[ImagesAndLabels]:
        for first in range(0, num_images, _BLOCK_IMAGES):
            size = min(_BLOCK_IMAGES, num_images - first)
            images, labels = generate_digits(size, seed=seed, split="train", first=first)
            yield images[:, None], labels

    start, _ = generate_digits(CHUNK_IMAGES, seed=seed, split="train")
    code = hashlib.sha256(start.data, usedforsecurity=False).hexdigest()[:16]
    folder = cache_folder(otherwise="set XDG_CACHE_HOME, or use --loader resident") / "mapped"
    path = folder / f"synthetic-seed{seed}-{num_images}-{code}"
    return ImageFile(path=path, num_images=num_images, shape=DIGIT_SHAPE, blocks=blocks)


def disk_waits() -> int:
    """How often this process has waited for a page to come from the disk; 0 where none tells."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt
