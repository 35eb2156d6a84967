"""Data sets are found where they lie, and loaded verified, transposed and labelled the same way."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.names import DatasetName
from mnistbench.train import keep_data
from mnistbench.workload import datasets
from mnistbench.workload.datasets import (
    DATASETS,
    default_data_dir,
    load_dataset,
    resolve_dataset,
    why_absent,
)
from mnistbench.workload.generated import generate_digits
from mnistbench.workload.idx_files import RAW_FILES
from tests.workload.written_idx_files import config_of, contents, files_below, small, write_files

PUBLISHED: tuple[DatasetName, ...] = tuple(RAW_FILES)
MNIST_SHA256 = "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16"
SYNTHETIC_SHA256 = "b56aa40dc761294877a372c67669384c43a22f27e7327292aa482e7818768b11"


def no_warning(line: str) -> None:
    pytest.fail(f"unexpected warning: {line}")


@pytest.fixture
def small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PUBLISHED:
        spec = DATASETS[name]
        monkeypatch.setitem(DATASETS, name, replace(spec, raw=small(spec.raw)))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail("the network was asked")

    monkeypatch.setattr(datasets, "download_set", refuse)


def test_the_registry_has_the_names_a_user_may_type() -> None:
    assert tuple(DATASETS) == get_args(DatasetName)


def test_data_dir_is_the_variable_else_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MNISTBENCH_DATA_DIR", "~/data")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_data_dir() == tmp_path / "data"
    monkeypatch.setenv("MNISTBENCH_DATA_DIR", "")
    assert default_data_dir() == tmp_path / "xdg" / "mnistbench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_data_dir() == tmp_path / ".cache" / "mnistbench"


@pytest.mark.parametrize("choice", ["mnist", "auto"])
def test_files_in_place_are_used_without_a_network_and_read_once(
    small_sets: None,
    no_network: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    choice: str,
) -> None:
    write_files(contents(DATASETS["mnist"].raw), tmp_path)
    assert why_absent("mnist", tmp_path) is None
    config, read = config_of(tmp_path, dataset=choice), Counter[str]()
    fromfile = np.fromfile
    monkeypatch.setattr(
        np, "fromfile", lambda p, *kind: read.update([p.name]) or fromfile(p, *kind)
    )
    for _ in range(2):
        read.clear()
        assert resolve_dataset(config, warn=no_warning) == ("mnist", "local")
        assert len(load_dataset("mnist", config).test) == 20
        assert read == dict.fromkeys((Path(f.path).name for f in DATASETS["mnist"].raw.files), 1)


@pytest.mark.parametrize("choice", ["mnist", "auto"])
def test_damaged_files_are_refused_and_left_alone(
    small_sets: None, no_network: None, tmp_path: Path, choice: str
) -> None:
    write_files(contents(DATASETS["mnist"].raw), tmp_path)
    path = tmp_path / "MNIST/raw/t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    before = files_below(tmp_path)
    # neither replaced by a download nor by the generated set
    with pytest.raises(InputError, match=r"^.*t10k-images-idx3-ubyte: truncated: .*$"):
        resolve_dataset(config_of(tmp_path, dataset=choice), warn=no_warning)
    assert files_below(tmp_path) == before


def test_the_generated_set_needs_nothing(tmp_path: Path) -> None:
    config = RunConfig(dataset="synthetic", data_dir=str(tmp_path / "none"))
    assert resolve_dataset(config, warn=no_warning) == ("synthetic", "generated")
    assert why_absent("synthetic", tmp_path / "none") is None
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_set_is_loaded_upright_with_plain_labels(
    small_sets: None, tmp_path: Path, name: DatasetName
) -> None:
    raw = DATASETS[name].raw
    values = contents(raw)
    write_files(values, tmp_path)
    loaded = load_dataset(name, config_of(tmp_path, dataset=name))
    digest = hashlib.sha256()
    files = iter(raw.files)
    for dataset in (loaded.train, loaded.test):
        images, labels = values[next(files).path], values[next(files).path]
        if name == "emnist-digits":  # its files hold columns first
            images = images.transpose(0, 2, 1)
        if name == "qmnist":
            labels = labels[:, 0]
        assert dataset.data.dtype == torch.uint8
        assert dataset.targets.dtype == torch.int64
        np.testing.assert_array_equal(dataset.data.numpy(), images[:, None])
        np.testing.assert_array_equal(dataset.targets.numpy(), labels)
        assert len(dataset) == len(images)
        image, label = dataset[7]
        assert isinstance(image, Image.Image)
        np.testing.assert_array_equal(np.asarray(image), images[7])
        assert (type(label), label) == (int, labels[7])
        digest.update(images.tobytes() + labels.astype(np.uint8).tobytes())
        if dataset is loaded.train:
            assert loaded.class_counts == tuple(np.bincount(labels, minlength=10))
    assert loaded.sha256 == digest.hexdigest()
    assert loaded.shape == (1, 28, 28, 10)


def test_loading_writes_nothing_and_ignores_old_processed_copies(
    small_sets: None, tmp_path: Path
) -> None:
    values = contents(DATASETS["mnist"].raw)
    write_files(values, tmp_path)
    # torchvision itself would load these instead of the files that were verified
    old = tmp_path / "MNIST" / "processed"
    old.mkdir()
    for file in ("training.pt", "test.pt"):
        torch.save((torch.zeros(3, 28, 28, dtype=torch.uint8), torch.zeros(3).long()), old / file)
    before = files_below(tmp_path)
    folders = [path for path in (tmp_path, *tmp_path.rglob("*")) if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        config = config_of(tmp_path, dataset="mnist")
        assert resolve_dataset(config, warn=no_warning) == ("mnist", "local")
        loaded = load_dataset("mnist", config)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert (len(loaded.train), len(loaded.test)) == (60, 20)
    assert files_below(tmp_path) == before


def test_loading_verifies_again(small_sets: None, tmp_path: Path) -> None:
    write_files(contents(DATASETS["kmnist"].raw), tmp_path)
    path = tmp_path / "KMNIST/raw/train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InputError, match="train-labels-idx1-ubyte: longer than it should be"):
        load_dataset("kmnist", config_of(tmp_path, dataset="kmnist"))


@pytest.mark.parametrize("name", ["kmnist", "emnist-digits", "synthetic"])
def test_what_is_kept_is_what_would_be_read_until_a_file_changes(
    small_sets: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: DatasetName
) -> None:
    monkeypatch.setattr(datasets, "_kept", {})
    flags = ["--dataset", name, "--val-size", "9", "--global-batch-size", "8"]
    config = config_of(tmp_path, dataset=name, synthetic_train_size=70)
    if (raw := DATASETS[name].raw) is None:
        flags += ["--synthetic-train-size", "70"]
    else:
        flags += ["--data-dir", str(tmp_path)]
        write_files(contents(raw), tmp_path)
    read = load_dataset(name, config)
    keep_data(flags)
    resolve_dataset(config, warn=no_warning)
    kept = load_dataset(name, config)
    assert kept.train is load_dataset(name, config).train
    assert torch.equal(kept.train.data, read.train.data)
    parts = ("train", "test")
    assert replace(kept, **dict.fromkeys(parts)) == replace(read, **dict.fromkeys(parts))
    other = config.model_copy(update={"synthetic_seed": 1})
    if raw is not None:
        path = tmp_path / raw.files[0].path
        was = path.stat()
        path.write_bytes(path.read_bytes()[:-1] + bytes([7]))
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))  # as a copy leaves it
    assert load_dataset(name, other).sha256 != kept.sha256


def test_nothing_is_kept_of_what_cannot_be_read(
    small_sets: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "_kept", {})
    for flags in (["--dataset", "mnist"], ["--lr", "-1"], ["--help"], ["--dataset", "my:data"]):
        keep_data([*flags, "--data-dir", str(tmp_path)])
    assert datasets._kept == {}


def test_mean_and_deviation_are_the_sets_own_unless_given(small_sets: None, tmp_path: Path) -> None:
    write_files(contents(DATASETS["mnist"].raw), tmp_path)
    own = load_dataset("mnist", config_of(tmp_path, dataset="mnist"))
    assert (own.pixel_mean, own.pixel_std) == ((0.1307,), (0.3081,))
    given = load_dataset("mnist", config_of(tmp_path, pixel_mean=0.0, pixel_std=1.0))
    assert (given.pixel_mean, given.pixel_std) == ((0.0,), (1.0,))


def test_too_few_images_to_train_on_is_an_error(small_sets: None, tmp_path: Path) -> None:
    write_files(contents(DATASETS["mnist"].raw), tmp_path)
    config = RunConfig(dataset="mnist", data_dir=str(tmp_path), val_size=60)
    with pytest.raises(InputError, match="val_size: 60 of 60 images leaves nothing"):
        load_dataset("mnist", config)


def test_the_generated_set_is_loaded_like_the_others() -> None:
    config = RunConfig(dataset="synthetic", synthetic_train_size=1000, val_size=100)
    loaded = load_dataset("synthetic", config)
    assert (len(loaded.train), len(loaded.test)) == (1000, datasets.TEST_IMAGES)
    assert loaded.sha256 == SYNTHETIC_SHA256
    assert load_dataset("synthetic", config).sha256 == loaded.sha256
    other = load_dataset("synthetic", config.model_copy(update={"synthetic_seed": 1}))
    assert other.sha256 != loaded.sha256
    image, label = loaded.train[0]
    assert (image.size, image.mode, type(label)) == ((28, 28), "L", int)
    for ours, drawn in (
        (loaded.train, generate_digits(5, seed=0, split="train")),
        (loaded.test, generate_digits(5, seed=0, split="test")),
    ):
        np.testing.assert_array_equal(ours.data[:5].numpy(), drawn[0][:, None])
        np.testing.assert_array_equal(ours.targets[:5].numpy(), drawn[1])


@pytest.mark.slow
def test_the_generated_sets_mean_and_deviation_are_its_own() -> None:
    pixels = generate_digits(20_000, seed=0, split="train")[0] / 255
    assert abs(pixels.mean() - DATASETS["synthetic"].pixel_mean) < 0.001
    assert abs(pixels.std() - DATASETS["synthetic"].pixel_std) < 0.001


def test_real_mnist_is_what_it_should_be() -> None:
    folder = Path(os.environ.get("MNISTBENCH_DATA_DIR", ""))
    if not (folder / "MNIST" / "raw" / "train-images-idx3-ubyte").exists():
        pytest.skip("MNIST is not in $MNISTBENCH_DATA_DIR")
    before = sorted(folder.rglob("*"))
    config = RunConfig(data_dir=str(folder))
    assert resolve_dataset(config, warn=no_warning) == ("mnist", "local")
    loaded = load_dataset("mnist", config)
    assert loaded.train.data.shape == (60_000, 1, 28, 28)
    assert loaded.test.data.shape == (10_000, 1, 28, 28)
    assert loaded.train.targets[:5].tolist() == [5, 0, 4, 1, 9]
    assert loaded.test.targets[:5].tolist() == [7, 2, 1, 0, 4]
    assert loaded.sha256 == MNIST_SHA256
    pixels = loaded.train.data.double() / 255
    assert abs(pixels.mean().item() - loaded.pixel_mean[0]) < 5e-5
    assert abs(pixels.std().item() - loaded.pixel_std[0]) < 5e-5
    assert sorted(folder.rglob("*")) == before
