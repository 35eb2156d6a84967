"""Every way a raw file can be wrong is found, named on one line and never trained on."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mnistbench.schema.errors import InputError
from mnistbench.schema.names import DatasetName
from mnistbench.workload.idx_files import (
    RAW_FILES,
    AbsentError,
    RawFile,
    RawSet,
    read_set,
)

SIDE = 4
IMAGES, LABELS = "Small/raw/train-images-idx3-ubyte", "Small/raw/train-labels-idx1-ubyte"


def small_set(num_train: int = 12, num_test: int = 6) -> RawSet:
    def split(stem: str, num: int) -> tuple[RawFile, RawFile]:
        return (
            RawFile(path=f"Small/raw/{stem}-images-idx3-ubyte", shape=(num, SIDE, SIDE)),
            RawFile(path=f"Small/raw/{stem}-labels-idx1-ubyte", shape=(num,)),
        )

    return RawSet(files=split("train", num_train) + split("t10k", num_test))


def idx_bytes(values: np.ndarray) -> bytes:
    # written out from the format's description, not from the code under test
    kind = {"uint8": 8, "int32": 12}[values.dtype.name]
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return (
        bytes([0, 0, kind, values.ndim])
        + sizes
        + values.astype(values.dtype.newbyteorder(">")).tobytes()
    )


def write_set(raw: RawSet, folder: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    written = {}
    for file in raw.files:
        is_labels = "labels" in file.path
        dtype = np.int32 if file.kind == "int" else np.uint8
        values = rng.integers(0, 10 if is_labels else 256, file.shape).astype(dtype)
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(idx_bytes(values))
        written[file.path] = values
    return written


def with_digests(raw: RawSet, folder: Path, algorithm: str) -> RawSet:
    def known(file: RawFile) -> RawFile:
        digest = hashlib.new(algorithm, (folder / file.path).read_bytes()).hexdigest()
        return replace(file, digest=f"{algorithm}:{digest}")

    return RawSet(files=tuple(map(known, raw.files)))


def complaint(raw: RawSet, folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_set(raw, folder)
    message = str(caught.value)
    assert "\n" not in message
    assert "use --dataset synthetic" in message
    return message


@pytest.mark.parametrize("algorithm", [None, "md5", "sha256"])
def test_sound_files_are_read_as_they_were_written(tmp_path: Path, algorithm: str | None) -> None:
    raw = small_set()
    written = write_set(raw, tmp_path)
    if algorithm is not None:
        raw = with_digests(raw, tmp_path, algorithm)
    files = iter(raw.files)
    for images, labels in read_set(raw, tmp_path):
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(images, written[next(files).path])
        np.testing.assert_array_equal(labels, written[next(files).path])


def test_labels_with_more_fields_are_reduced_to_the_digit(tmp_path: Path) -> None:
    raw = small_set()
    labels = RawFile(path="Small/raw/train-labels-idx2-int", shape=(12, 8), kind="int")
    raw = replace(raw, files=(raw.files[0], labels, *raw.files[2:]))
    written = write_set(raw, tmp_path)
    (_, digits), _ = read_set(raw, tmp_path)
    np.testing.assert_array_equal(digits, written[labels.path][:, 0])
    assert digits.max() > 5  # not misread as another byte order or field


def cut(data: bytes) -> bytes:
    return data[:-5]


def cut_in_header(data: bytes) -> bytes:
    return data[:6]


def emptied(data: bytes) -> bytes:
    return data[:0]


def lengthened(data: bytes) -> bytes:
    return data + b"\0"


def other_magic(data: bytes) -> bytes:
    return b"PK\x03\x04" + data[4:]


def half_packed(data: bytes) -> bytes:
    return gzip.compress(data)[:-20]


def badly_packed(data: bytes) -> bytes:
    return gzip.compress(data)[:-8] + bytes(8)


def no_gzip_at_all(data: bytes) -> bytes:
    return b"\x1f\x8b" + data


def packed_too_long(data: bytes) -> bytes:
    return gzip.compress(data + bytes(50_000_000))


def other_type(data: bytes) -> bytes:
    return data[:2] + b"\x0d" + data[3:]


def other_rows(data: bytes) -> bytes:
    # the same number of bytes, in another shape
    return data[:8] + (2).to_bytes(4, "big") + (8).to_bytes(4, "big") + data[16:]


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (cut, "truncated: 203 of 208 bytes"),
        (cut_in_header, "truncated: 6 of 208 bytes"),
        (emptied, "truncated: 0 of 208 bytes"),
        (lengthened, "longer than it should be: 209, not 208 bytes"),
        (other_magic, "bad header: starts with 504b0304, not 00000803"),
        (half_packed, "cannot be unpacked (Compressed file ended before the end-of-stream marker"),
        (badly_packed, "cannot be unpacked (CRC check failed"),
        (no_gzip_at_all, "cannot be unpacked ("),
        (packed_too_long, "unpacks to more than 208 bytes"),
        (other_type, "bad header: starts with 00000d03, not 00000803"),
        (other_rows, "bad header: sizes (12, 2, 8), not (12, 4, 4)"),
    ],
)
@pytest.mark.parametrize("is_digest_known", [True, False])
def test_damaged_images_are_named(
    tmp_path: Path, fault: Callable[[bytes], bytes], what: str, is_digest_known: bool
) -> None:
    raw = small_set()
    write_set(raw, tmp_path)
    if is_digest_known:
        raw = with_digests(raw, tmp_path, "sha256")
    path = tmp_path / IMAGES
    path.write_bytes(fault(path.read_bytes()))
    message = complaint(raw, tmp_path)
    assert message.startswith(f"{path}: {what}")
    assert "delete it and run again with a network" in message


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
@pytest.mark.parametrize("place", [16, 100, 207])
def test_one_flipped_bit_is_found_where_a_checksum_is_known(
    tmp_path: Path, algorithm: str, place: int
) -> None:
    raw = small_set()
    write_set(raw, tmp_path)
    raw = with_digests(raw, tmp_path, algorithm)
    path = tmp_path / IMAGES
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert f"{path}: checksum mismatch: {algorithm} " in complaint(raw, tmp_path)


def test_swapped_images_and_labels_are_found(tmp_path: Path) -> None:
    raw = small_set()
    write_set(raw, tmp_path)
    images, labels = (tmp_path / IMAGES).read_bytes(), (tmp_path / LABELS).read_bytes()
    (tmp_path / IMAGES).write_bytes(labels)
    (tmp_path / LABELS).write_bytes(images)
    assert f"{tmp_path / IMAGES}: bad header: starts with 00000801" in complaint(raw, tmp_path)


def test_swapped_train_and_test_are_found(tmp_path: Path) -> None:
    raw = small_set()
    write_set(raw, tmp_path)
    train, test = (tmp_path / file.path for file in raw.files[::2])
    first, second = train.read_bytes(), test.read_bytes()
    train.write_bytes(second)
    test.write_bytes(first)
    assert f"{train}: bad header: sizes (6, 4, 4), not (12, 4, 4)" in complaint(raw, tmp_path)


def test_fewer_labels_than_images_are_found(tmp_path: Path) -> None:
    raw = small_set()
    write_set(raw, tmp_path)
    (tmp_path / LABELS).write_bytes(idx_bytes(np.zeros(7, np.uint8)))
    assert f"{tmp_path / LABELS}: bad header: sizes (7,), not (12,)" in complaint(raw, tmp_path)


def test_a_smaller_set_that_agrees_with_itself_is_still_refused(tmp_path: Path) -> None:
    write_set(small_set(num_train=5), tmp_path)
    message = complaint(small_set(num_train=12), tmp_path)
    assert f"{tmp_path / IMAGES}: bad header: sizes (5, 4, 4), not (12, 4, 4)" in message


@pytest.mark.parametrize("label", [10, 200, 255])
def test_a_label_out_of_range_is_found(tmp_path: Path, label: int) -> None:
    raw = small_set()
    labels = write_set(raw, tmp_path)[LABELS]
    labels[3] = label
    (tmp_path / LABELS).write_bytes(idx_bytes(labels))
    message = complaint(raw, tmp_path)
    assert f"{tmp_path / LABELS}: label {label} out of range 0 to 9" in message


def test_a_negative_label_is_found(tmp_path: Path) -> None:
    raw = small_set()
    file = RawFile(path="Small/raw/train-labels-idx2-int", shape=(12, 8), kind="int")
    raw = replace(raw, files=(raw.files[0], file, *raw.files[2:]))
    labels = write_set(raw, tmp_path)[file.path]
    labels[0, 0] = -1
    (tmp_path / file.path).write_bytes(idx_bytes(labels))
    assert f"{tmp_path / file.path}: label -1 out of range" in complaint(raw, tmp_path)


@pytest.mark.parametrize("index", range(4))
def test_a_missing_file_is_named(tmp_path: Path, index: int) -> None:
    raw = small_set()
    write_set(raw, tmp_path)
    path = raw.files[index].path
    (tmp_path / path).unlink()
    with pytest.raises(AbsentError) as caught:
        read_set(raw, tmp_path)
    assert caught.value.is_found
    folder, name = (tmp_path / path).parent, Path(path).name
    assert str(caught.value).startswith(f"{folder}: has ")
    assert f", but no {name}; put all four files into one folder, " in str(caught.value)


def test_what_a_small_file_unpacks_to_is_never_all_in_memory(tmp_path: Path) -> None:
    raw = small_set()
    write_set(raw, tmp_path)
    path = tmp_path / IMAGES
    path.write_bytes(packed_too_long(path.read_bytes()))
    tracemalloc.start()
    try:
        complaint(raw, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_folder_in_a_files_place_is_named(tmp_path: Path) -> None:
    raw = small_set()
    write_set(raw, tmp_path)
    (tmp_path / LABELS).unlink()
    (tmp_path / LABELS).mkdir()
    assert f"{tmp_path / LABELS}: cannot be read" in complaint(raw, tmp_path)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("mnist", [47_040_016, 60_008, 7_840_016, 10_008]),
        ("fashion-mnist", [47_040_016, 60_008, 7_840_016, 10_008]),
        ("kmnist", [47_040_016, 60_008, 7_840_016, 10_008]),
        ("qmnist", [47_040_016, 1_920_012, 47_040_016, 1_920_012]),
        ("emnist-digits", [188_160_016, 240_008, 31_360_016, 40_008]),
    ],
)
def test_the_published_files_have_their_published_sizes(
    name: DatasetName, sizes: list[int]
) -> None:
    assert [file.num_bytes for file in RAW_FILES[name].files] == sizes
    lengths = {"sha256": 64, "md5": 32}
    for file in RAW_FILES[name].files:
        if file.digest is not None:
            algorithm, _, digest = file.digest.partition(":")
            assert len(bytes.fromhex(digest)) * 2 == lengths[algorithm]
