"""The published files, and the check that they are what they should be before anyone trains.

torchvision compares a checksum with the archive it downloads only; of the files it leaves behind it
asks no more than that they exist. Here each is checked for size, header, checksum where one is
published, and for labels that fit, and the bytes that were checked are the bytes that are used.

Layout: each file is an idx file (http://yann.lecun.com/exdb/mnist/), as such or packed by gzip.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from mnistbench.schema.errors import InputError
from mnistbench.schema.files import CACHES, cache_folder
from mnistbench.workload.file_search import file_places

ImagesAndLabels: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]
"""Images, in published files uint8 [N, H, W], and labels int64 [N]."""

_T = TypeVar("_T")
_NUM_CLASSES = 10
_GZIP_MAGIC = b"\x1f\x8b"
_Kind: TypeAlias = Literal["ubyte", "int"]
_KINDS: Mapping[_Kind, tuple[int, np.dtype[Any]]] = {
    "ubyte": (0x08, np.dtype(np.uint8)),
    "int": (0x0C, np.dtype(">i4")),
}


@dataclass(frozen=True, kw_only=True)
class RawFile:
    """What one idx file has to be.

    Attributes:
        path: place below the data folder where torchvision puts it, parts joined by ``/``.
        shape: numbers of entries that its header gives; the first counts images or labels.
        digest: checksum of the whole file as ``sha256:…`` or ``md5:…``; none where none is known.
        kind: type of an entry, ``ubyte`` or big-endian ``int`` of four bytes.
    """

    path: str
    shape: tuple[int, ...]
    digest: str | None = None
    kind: _Kind = "ubyte"

    @property
    def header(self) -> bytes:
        """The bytes that the file starts with: type, number of dimensions and `shape`."""
        sizes = b"".join(size.to_bytes(4, "big") for size in self.shape)
        return bytes([0, 0, _KINDS[self.kind][0], len(self.shape)]) + sizes

    @property
    def num_bytes(self) -> int:
        """Size of the whole file [bytes]."""
        return len(self.header) + prod(self.shape) * _KINDS[self.kind][1].itemsize


@dataclass(frozen=True, kw_only=True)
class RawSet:
    """The files of one data set: images and labels of train, then of test.

    Images are [N, H, W], and with `is_transposed` [N, W, H]; labels are [N], or [N, fields] with
    the digit first.
    """

    files: tuple[RawFile, ...]
    is_transposed: bool = False


def _split(
    stem: str, num: int, images: str | None = None, labels: str | None = None
) -> tuple[RawFile, RawFile]:
    """A split of `num` images in files that begin with `stem`, and their checksums."""
    return (
        RawFile(path=f"{stem}-images-idx3-ubyte", shape=(num, 28, 28), digest=images),
        RawFile(path=f"{stem}-labels-idx1-ubyte", shape=(num,), digest=labels),
    )


def _as_mnist(folder: str, *digests: str | None) -> RawSet:
    """A set in files called as MNIST's, with checksums of images and labels of train, then test."""
    train = _split(f"{folder}/raw/train", 60_000, *digests[:2])
    return RawSet(files=train + _split(f"{folder}/raw/t10k", 10_000, *digests[2:]))


def _qmnist_split(stem: str) -> tuple[RawFile, RawFile]:
    labels = RawFile(path=f"{stem}-labels-idx2-int", shape=(60_000, 8), kind="int")
    return _split(stem, 60_000)[0], labels


# MNIST's checksums were worked out from files whose md5 are the published ones; those of the other
# sets are published in at least two places that agree, and are left out where none such was found.
RAW_FILES: Mapping[str, RawSet] = {
    "mnist": _as_mnist(
        "MNIST",
        "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion-mnist": _as_mnist(
        "FashionMNIST",
        "md5:f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "md5:9018921c3c673c538a1fc5bad174d6f9",
        "md5:8181f5470baa50b63fa0f6fddb340f0a",
        "md5:15d484375f8d13e6eb1aabb0c3f46965",
    ),
    "kmnist": _as_mnist(
        "KMNIST",
        None,
        "md5:949e75301f8813e0dc5800dcc320fc52",
        None,
        "md5:9f55f451c0988b028eccdf7d5cc265ab",
    ),
    "qmnist": RawSet(
        files=_qmnist_split("QMNIST/raw/qmnist-train") + _qmnist_split("QMNIST/raw/qmnist-test")
    ),
    "emnist-digits": RawSet(
        files=_split("EMNIST/raw/emnist-digits-train", 240_000)
        + _split("EMNIST/raw/emnist-digits-test", 40_000),
        is_transposed=True,
    ),
}
"""The files of each published set, where torchvision's classes put them."""

_TOP_FOLDERS = {file.path.split("/")[0] for raw in RAW_FILES.values() for file in raw.files}


class AbsentError(InputError):
    """A set is neither where it belongs nor right elsewhere; `is_found` if something is there."""

    is_found = False


def read_set(raw: RawSet, data_dir: Path) -> tuple[ImagesAndLabels, ImagesAndLabels]:
    """Find a set by `find_set` and read it by `read_files`."""
    return find_set(raw, data_dir, lambda places: read_files(raw, places))


def find_set(raw: RawSet, data_dir: Path, read: Callable[[Sequence[Path]], _T]) -> _T:
    """What `read` makes of the files of a set, in the first folder below `data_dir` where it can.

    Raises:
        InputError: one line that names the first file that is damaged, or what is there instead
            (`AbsentError`), what is wrong with it and the mend.
    """
    home, found = data_dir / Path(raw.files[0].path).parent, list[str]()
    paths, skip = [f.path for f in raw.files], _TOP_FOLDERS - {home.relative_to(data_dir).parts[0]}
    with suppress(InputError):  # no home folder
        skip |= CACHES if data_dir == cache_folder(otherwise="") else set()
    wrong: dict[bool, InputError] = {}  # by whether it is where it belongs
    for places in file_places(paths, data_dir, found=found, skip=skip):
        try:
            return read(places)
        except InputError as error:
            wrong.setdefault(places[0].parent == home, error)
    if damaged := wrong.get(True):
        raise damaged
    nothing = (
        f"{data_dir}: has none of the files; run again with a network, or use --dataset synthetic"
    )
    absent = AbsentError([*map(str, wrong.values()), *found, nothing][0])
    absent.is_found = bool(wrong or found)
    raise absent


def read_files(
    raw: RawSet, places: Sequence[Path], *, mapped: bool = False
) -> tuple[ImagesAndLabels, ImagesAndLabels]:
    """Read and check the files of a set.

    Args:
        raw: what they have to be.
        places: where they are.
        mapped: leave the images in their files, mapped into memory to be read only; those of a
            transposed set are then turned by their strides.

    Returns:
        Train and test, each as upright images uint8 [N, H, W] and labels int64 [N], 0 to 9.

    Raises:
        InputError: one is damaged.
    """
    train = _read_split(raw.files[:2], places[:2], mapped=mapped)
    test = _read_split(raw.files[2:], places[2:], mapped=mapped)
    if raw.is_transposed:
        lay = np.asarray if mapped else np.ascontiguousarray
        train, test = ((lay(x.transpose(0, 2, 1)), labels) for x, labels in (train, test))
    return train, test


def _read_split(
    files: Sequence[RawFile], paths: Sequence[Path], *, mapped: bool
) -> ImagesAndLabels:
    try:
        images = _entries(files[0], paths[0], mapped=mapped)
        fields = _entries(files[1], paths[1], mapped=False)
    except OSError as error:
        mend = "check its permissions, or use --dataset synthetic"
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); {mend}") from None
    labels = fields.reshape(len(fields), -1)[:, 0].astype(np.int64)
    wrong = labels[(labels < 0) | (labels >= _NUM_CLASSES)]
    if wrong.size:
        raise _damaged(paths[1], f"label {wrong[0]} out of range 0 to 9")
    return images, labels


def _entries(file: RawFile, path: Path, *, mapped: bool) -> npt.NDArray[Any]:
    """The entries of a file, shaped, once its header, size and checksum are right."""
    if not path.is_file():  # one may wait for ever to open a pipe
        raise _damaged(path, "cannot be read (no regular file)")
    with path.open("rb") as stream:
        header = stream.read(len(file.header))
    if not header.startswith(_GZIP_MAGIC):
        _check_layout(file, path, header, path.stat().st_size)
        data = np.memmap(path, np.uint8, "r") if mapped else np.fromfile(path, np.uint8)
    elif mapped:
        mend = "unpack it (gunzip), or use --loader resident"
        raise InputError(f"{path}: is packed, and cannot be mapped into memory; {mend}")
    else:
        try:
            with gzip.open(path) as stream:  # never all of it: it may unpack to any size
                content = bytearray(stream.read(file.num_bytes + 1))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _damaged(path, f"cannot be unpacked ({error})") from None
        if len(content) > file.num_bytes:
            raise _damaged(path, f"unpacks to more than {file.num_bytes} bytes")
        _check_layout(file, path, bytes(content[: len(file.header)]), len(content))
        data = np.frombuffer(content, np.uint8)
    if file.digest is not None:
        algorithm, _, expected = file.digest.partition(":")
        actual = hashlib.new(algorithm, data.data, usedforsecurity=False).hexdigest()
        if actual != expected:
            raise _damaged(path, f"checksum mismatch: {algorithm} {actual}, not {expected}")
    return data[len(file.header) :].view(_KINDS[file.kind][1]).reshape(file.shape)


def _check_layout(file: RawFile, path: Path, header: bytes, num_bytes: int) -> None:
    """Check how a file begins and how long it is."""
    start = header[:4]
    if start != file.header[: len(start)]:
        what = f"bad header: starts with {start.hex()}, not {file.header[:4].hex()}"
        raise _damaged(path, what)
    if len(header) == len(file.header) and header != file.header:
        sizes = tuple(np.frombuffer(header[4:], ">i4").tolist())
        raise _damaged(path, f"bad header: sizes {sizes}, not {file.shape}")
    if num_bytes != file.num_bytes:
        is_short = num_bytes < file.num_bytes
        what = "truncated: {} of" if is_short else "longer than it should be: {}, not"
        raise _damaged(path, f"{what.format(num_bytes)} {file.num_bytes} bytes")


def _damaged(path: Path, what: str) -> InputError:
    mend = "delete it and run again with a network, or use --dataset synthetic"
    return InputError(f"{path}: {what}; {mend}")
