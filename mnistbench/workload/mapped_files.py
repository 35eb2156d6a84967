"""Generated training sets, written to a file once and read where they lie, mapped into memory.

The kernel brings in the pages that are touched and drops them again where memory is short, so a
set may be larger than memory. A file holds the images, then a byte for each label, then the sha256
of both; it is written aside and renamed, so that any number of processes may want it at once.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mnistbench.schema.errors import InputError
from mnistbench.schema.files import cache_folder
from mnistbench.workload.generated import CHUNK_IMAGES, NUM_CLASSES, generate_digits
from mnistbench.workload.idx_files import ImagesAndLabels

__all__ = ["DigitFile", "MappedDigits", "disk_waits", "generated_file"]

_log = logging.getLogger(__name__)

_SIDE = 28
_IMAGE_BYTES = _SIDE * _SIDE
_SHA256_BYTES = 32
_BLOCK_IMAGES = 8192


@dataclass(frozen=True, kw_only=True)
class MappedDigits:
    """What a `DigitFile` holds; nothing is read from it before it is touched.

    Attributes:
        images: uint8 ``[N, 28, 28]`` in the file, read-only.
        labels: int64 ``[N]``, in memory.
        path: the file.
        sha256: of the bytes of images and labels, a byte for a label, when they were written.
        memory: the whole file.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    path: Path
    sha256: str
    memory: mmap.mmap

    def check(self, sha256: str) -> None:
        """Check that the bytes that are there now have the checksum they were written with.

        From then on the kernel does not read on behind each image that is touched, some MiB for
        nothing: batches take them in any order, where a checksum takes them in their own.

        Raises:
            InputError: they have not, or have labels above 9, which no run writes.
        """
        if sha256 != self.sha256:
            raise InputError(f"{self.path}: checksum mismatch; delete it and run again")
        if (self.labels >= NUM_CLASSES).any():
            raise InputError(f"{self.path}: label out of range 0 to 9; delete it and run again")
        if hasattr(self.memory, "madvise"):
            self.memory.madvise(mmap.MADV_RANDOM)

    def read_ahead(self, rows: Tensor) -> None:
        """Have the kernel begin to read the images at `rows`, int ``[b]``, without waiting."""
        if not hasattr(self.memory, "madvise"):
            return
        for row in rows.tolist():
            start = row * _IMAGE_BYTES
            page = start - start % mmap.PAGESIZE
            self.memory.madvise(mmap.MADV_WILLNEED, page, start + _IMAGE_BYTES - page)


@dataclass(frozen=True, kw_only=True)
class DigitFile:
    """Where a training set lies as one file, and how it is made.

    Attributes:
        path: its place; the name has to tell all that the content follows from.
        num_images: images in it.
        blocks: makes the content anew, in pieces that fit memory.
    """

    path: Path
    num_images: int
    blocks: Callable[[], Iterable[ImagesAndLabels]]

    @property
    def num_bytes(self) -> int:
        """Size of the whole file [bytes]."""
        return self.num_images * (_IMAGE_BYTES + 1) + _SHA256_BYTES

    def ensure(self) -> None:
        """Write the file, unless one of the right size is there.

        Raises:
            InputError: it cannot be written.
        """
        try:
            if self.path.exists() and self.path.stat().st_size == self.num_bytes:
                return
            _log.info(f"writing {self.num_bytes / 1e6:,.0f} MB to {self.path}, kept for later runs")
            self._write()
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be written ({error.strerror}); make room for "
                f"{self.num_bytes / 1e6:,.0f} MB there, point XDG_CACHE_HOME to another folder, or "
                "use --loader resident"
            ) from None

    def open(self) -> MappedDigits:
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
        images, labels, sha256 = np.split(data, (self.num_images * _IMAGE_BYTES, -_SHA256_BYTES))
        return MappedDigits(
            images=images.reshape(self.num_images, _SIDE, _SIDE),
            labels=labels.astype(np.int64),
            path=self.path,
            sha256=sha256.tobytes().hex(),
            memory=memory,
        )

    def _write(self) -> None:
        # not flushed to the disk: the checksum finds out what a crash may leave
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_name(f".{self.path.name}-{token_hex(4)}")
        digest, all_labels = hashlib.sha256(usedforsecurity=False), bytearray()
        try:
            with aside.open("xb") as stream:
                for images, labels in self.blocks():
                    stream.write(images.data)
                    digest.update(images.data)
                    all_labels += labels.astype(np.uint8).data
                digest.update(all_labels)
                stream.write(all_labels + digest.digest())
            aside.replace(self.path)
        finally:
            aside.unlink(missing_ok=True)


def generated_file(num_images: int, *, seed: int) -> DigitFile:
    """The first `num_images` of the generated digits' train split, below the user's cache folder.

    Its name holds a checksum of the first of them, for the day when the generator changes.

    Raises:
        InputError: the user has no home folder.
    """

    def blocks() -> Iterator[ImagesAndLabels]:
        for first in range(0, num_images, _BLOCK_IMAGES):
            size = min(_BLOCK_IMAGES, num_images - first)
            yield generate_digits(size, seed=seed, split="train", first=first)

    start, _ = generate_digits(CHUNK_IMAGES, seed=seed, split="train")
    code = hashlib.sha256(start.data, usedforsecurity=False).hexdigest()[:16]
    folder = cache_folder(otherwise="set XDG_CACHE_HOME, or use --loader resident") / "mapped"
    path = folder / f"synthetic-seed{seed}-{num_images}-{code}"
    return DigitFile(path=path, num_images=num_images, blocks=blocks)


def disk_waits() -> int:
    """How often this process has waited for a page to come from the disk; 0 where none tells."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt
