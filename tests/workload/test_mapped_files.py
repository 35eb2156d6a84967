"""Mapped training sets: the same bytes as in memory, written once, never half, never stale."""

from __future__ import annotations

import resource
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.schema.component import DataShape
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.workload import mapped_files
from mnistbench.workload.batches import BatchPlan, mapped_batches, resident_batches
from mnistbench.workload.datasets import DATASETS, load_dataset, resolve_dataset
from mnistbench.workload.generated import DIGIT_SHAPE, generate_digits
from mnistbench.workload.mapped_files import ImageFile, generated_file
from tests.workload.written_idx_files import config_of, contents, files_below, small, write_files


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def generated(loader: str, **values: object) -> RunConfig:
    values = {"synthetic_train_size": 500, "val_size": 100} | values
    return RunConfig(dataset="synthetic", loader=loader, **values)


def digits(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (num, 1, 28, 28), np.uint8), rng.integers(0, 10, num)


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


shapes = st.builds(
    DataShape,
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([2, 256, 300]),
)


@given(st.integers(1, 40), st.integers(1, 50), shapes, st.sampled_from([np.uint8, np.float32]))
def test_a_file_gives_back_what_was_written_in_pieces(
    num: int, piece: int, shape: DataShape, dtype: type
) -> None:
    rng = np.random.default_rng(num)
    images = rng.integers(0, 256, (num, *shape[:3])).astype(dtype)
    labels = rng.integers(0, shape.num_classes, num)
    with TemporaryDirectory() as folder:
        file = ImageFile(
            path=Path(folder) / "made" / "set",
            num_images=num,
            shape=shape,
            dtype=dtype,
            blocks=lambda: (
                (images[k : k + piece], labels[k : k + piece]) for k in range(0, num, piece)
            ),
        )
        mapped = file.open()
        np.testing.assert_array_equal(mapped.images, images)
        np.testing.assert_array_equal(mapped.labels, labels)
        assert (mapped.images.dtype, mapped.labels.dtype) == (dtype, np.int64)
        assert not mapped.images.flags.writeable
        assert file.path.stat().st_size == file.num_bytes
        mapped.read_ahead(torch.arange(num, dtype=torch.int32))


@pytest.mark.parametrize("seed", [0, 7])
def test_the_generated_set_is_the_same_mapped_and_in_memory(cache: Path, seed: int) -> None:
    mapped, resident = (
        load_dataset("synthetic", generated(loader, synthetic_seed=seed))
        for loader in ("mapped", "resident")
    )
    assert mapped.sha256 == resident.sha256
    for ours, theirs in ((mapped.train, resident.train), (mapped.test, resident.test)):
        assert torch.equal(ours.data, theirs.data)
        assert torch.equal(ours.targets, theirs.targets)
        assert ours.targets.dtype == theirs.targets.dtype
    assert mapped.read_ahead is not None
    assert resident.read_ahead is None


def test_the_file_is_written_once_and_each_set_has_its_own(cache: Path) -> None:
    config = generated("mapped")
    assert resolve_dataset(config, warn=pytest.fail) == ("synthetic", "generated")
    (path,) = files_of(cache)
    before = path.stat()
    load_dataset("synthetic", config)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    for other in ({"synthetic_seed": 1}, {"synthetic_train_size": 400}):
        load_dataset("synthetic", generated("mapped", **other))
    assert len(files_of(cache)) == 3


def test_a_generator_that_changes_gets_a_file_of_its_own(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = generated_file(500, seed=0).path

    def inverted(num_images: int, **values: int | str) -> tuple[np.ndarray, np.ndarray]:
        images, labels = generate_digits(num_images, **values)
        return 255 - images, labels

    monkeypatch.setattr(mapped_files, "generate_digits", inverted)
    assert generated_file(500, seed=0).path != before


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0"])
def test_a_file_of_the_wrong_size_is_written_anew(cache: Path, change: object) -> None:
    config = generated("mapped")
    expected = load_dataset("synthetic", config).sha256
    (path,) = files_of(cache)
    whole = path.read_bytes()
    path.write_bytes(change(whole))
    assert load_dataset("synthetic", config).sha256 == expected
    assert files_below(cache) == {str(path.relative_to(cache)): whole}


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, 784 * 300, 784 * 500 + 3, -1])
def test_a_damaged_file_is_refused_in_one_line(cache: Path, place: int) -> None:
    config = generated("mapped")
    load_dataset("synthetic", config)
    (path,) = files_of(cache)
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(InputError) as caught:
        load_dataset("synthetic", config)
    assert str(caught.value) == f"{path}: checksum mismatch; delete it and run again"
    path.unlink()
    load_dataset("synthetic", config)


def test_a_cache_that_cannot_be_written_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"^\S+: cannot be written \(Not a directory\); .*$"):
        resolve_dataset(generated("mapped"), warn=pytest.fail)


def test_a_disk_that_is_full_is_refused_in_one_line_and_nothing_is_left(cache: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # of the 392,532 bytes wanted
    try:
        with pytest.raises(InputError) as caught:
            resolve_dataset(generated("mapped"), warn=pytest.fail)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot be written (File too large); make room for 0 MB there, " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files_of(cache) == []


def test_a_file_that_is_gone_when_it_is_read_is_refused_in_one_line(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "ensure", lambda _: None)
    with pytest.raises(InputError, match=r"^\S+: cannot be read \(No such file[^\n]*\); .*$"):
        generated_file(500, seed=0).open()


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    def blocks() -> object:
        yield digits(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ImageFile(path=tmp_path / "set", num_images=6, shape=DIGIT_SHAPE, blocks=blocks).ensure()
    assert files_of(tmp_path) == []


def test_writers_at_the_same_time_do_not_meet(tmp_path: Path) -> None:
    images, labels = digits(6)
    all_writing = threading.Barrier(4, timeout=60)

    def blocks() -> object:
        yield images[:4], labels[:4]
        all_writing.wait()
        yield images[4:], labels[4:]

    file = ImageFile(path=tmp_path / "set", num_images=6, shape=DIGIT_SHAPE, blocks=blocks)
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: file.open(), range(4)))
    assert files_of(tmp_path) == [file.path]
    for mapped in opened:
        np.testing.assert_array_equal(mapped.images, images)
        np.testing.assert_array_equal(mapped.labels, labels)


def test_writing_takes_no_memory_for_the_images(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped_files, "_BLOCK_IMAGES", 256)
    file = generated_file(4000, seed=0)  # 3.1 MB
    tracemalloc.start()
    try:
        file.ensure()
        small_peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        replace(file, path=cache / "twice", num_images=8000, blocks=twice(file)).ensure()
        assert tracemalloc.get_traced_memory()[1] < small_peak + 8000
    finally:
        tracemalloc.stop()


def twice(file: ImageFile) -> object:
    def blocks() -> object:
        yield from file.blocks()
        yield from file.blocks()

    return blocks


@pytest.mark.parametrize("name", ["mnist", "qmnist", "emnist-digits"])
def test_published_sets_are_the_same_mapped_and_in_memory(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    spec = replace(DATASETS[name], raw=small(DATASETS[name].raw))
    monkeypatch.setitem(DATASETS, name, spec)
    folder = tmp_path / "data"
    write_files(contents(spec.raw), folder)
    mapped, resident = (
        load_dataset(name, config_of(folder, dataset=name, loader=loader))
        for loader in ("mapped", "resident")
    )
    assert mapped.sha256 == resident.sha256
    assert torch.equal(mapped.train.data, resident.train.data)
    assert torch.equal(mapped.test.data, resident.test.data)
    assert torch.equal(mapped.train.targets, resident.train.targets)
    assert not cache.exists()  # mapped where they lie
    plan = BatchPlan(num_samples=50, global_batch_size=8, num_steps=9, seed=0)
    for ours, theirs in zip(
        mapped_batches(
            plan, images=mapped.train.data, labels=mapped.train.targets, device=torch.device("cpu")
        ),
        resident_batches(plan, images=resident.train.data, labels=resident.train.targets),
        strict=True,
    ):
        assert torch.equal(ours.images, theirs.images)
        assert ours.images.is_contiguous()
