"""A set is found as people have it, nothing is written, and what is of no use is named."""

from __future__ import annotations

import gzip
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mnistbench
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import CACHES
from mnistbench.schema.names import DatasetName
from mnistbench.workload import datasets
from mnistbench.workload.datasets import (
    DATASETS,
    default_data_dir,
    load_dataset,
    resolve_dataset,
    why_absent,
)
from mnistbench.workload.download import DownloadError
from mnistbench.workload.idx_files import RAW_FILES
from tests.workload.written_idx_files import config_of, contents, files_below, small, write_files

HOME = "MNIST/raw"
IMAGES = "train-images-idx3-ubyte"
NOBODY = 65534


@pytest.fixture(autouse=True)
def _small_sets_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise DownloadError("no mirror can be reached")

    monkeypatch.setattr(datasets, "download_set", refuse)
    for name in RAW_FILES:
        monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], raw=small(RAW_FILES[name])))


def resolved(folder: Path, **values: object) -> tuple[str, str]:
    return resolve_dataset(config_of(folder, **values), warn=lambda line: None)


def refusal(folder: Path, **values: object) -> str:
    with pytest.raises(InputError, match=r"\A[^\n]+\Z") as caught:
        resolved(folder, **{"dataset": "auto"} | values)
    return str(caught.value)


def written(name: DatasetName, folder: Path) -> list[Path]:
    """Files of a set as torchvision leaves them."""
    write_files(contents(DATASETS[name].raw), folder)
    return [folder / file.path for file in DATASETS[name].raw.files]


def pack(path: Path) -> None:
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def packed(files: list[Path], folder: Path) -> None:
    for path in files:
        pack(path)


def partly_packed(files: list[Path], folder: Path) -> None:
    packed(files[:1], folder)


def dotted(files: list[Path], folder: Path) -> None:
    for path in files:
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))


def packed_and_dotted(files: list[Path], folder: Path) -> None:
    for path in files:
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
        pack(path.with_name(path.name.replace("-idx", ".idx")))


def packed_by_content_only(files: list[Path], folder: Path) -> None:
    for path in files:
        path.write_bytes(gzip.compress(path.read_bytes()))


def unpacked_by_content_only(files: list[Path], folder: Path) -> None:
    for path in files:  # as some browsers leave a download
        path.rename(path.with_name(f"{path.name}.gz"))


def one_folder_up(files: list[Path], folder: Path) -> None:
    for path in files:
        path.rename(path.parents[1] / path.name)


def directly_and_packed(files: list[Path], folder: Path) -> None:
    for path in files:
        path.rename(folder / path.name)
        pack(folder / path.name)


def below_other_folders(files: list[Path], folder: Path) -> None:
    folder.joinpath("my sets ü").mkdir()
    files[0].parents[1].rename(folder / "my sets ü" / files[0].parents[1].name)


def each_in_a_folder_of_its_name(files: list[Path], folder: Path) -> None:
    for path in files:
        data = path.read_bytes()
        path.unlink()
        path.mkdir()
        (path / path.name.replace("-idx", ".idx")).write_bytes(data)


def behind_a_link(files: list[Path], folder: Path) -> None:
    files[0].parents[1].rename(folder.with_name("elsewhere"))
    (folder / "link").symlink_to(folder.with_name("elsewhere"))
    (folder / "loop").symlink_to(folder)


def one_damaged_beside_its_package(files: list[Path], folder: Path) -> None:
    data = files[0].read_bytes()
    pack(files[0])
    files[0].write_bytes(data[:-1])


def all_damaged_beside_the_right_ones(files: list[Path], folder: Path) -> None:
    shutil.copytree(files[0].parent, folder / "other")
    for path in files:
        path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    "change",
    [
        packed,
        partly_packed,
        dotted,
        packed_and_dotted,
        packed_by_content_only,
        unpacked_by_content_only,
        one_folder_up,
        directly_and_packed,
        below_other_folders,
        each_in_a_folder_of_its_name,
        behind_a_link,
        one_damaged_beside_its_package,
        all_damaged_beside_the_right_ones,
    ],
)
@pytest.mark.parametrize("name", RAW_FILES)
def test_a_set_is_found_as_people_have_it(
    tmp_path: Path, name: DatasetName, change: Callable[[list[Path], Path], None]
) -> None:
    folder = tmp_path / "data"
    files = written(name, folder)
    config = config_of(folder, dataset=name)
    expected = load_dataset(name, config)
    change(files, folder)
    before = files_below(tmp_path)
    assert resolved(folder, dataset=name) == (name, "local")
    assert why_absent(name, folder) is None
    loaded = load_dataset(name, config)
    assert loaded.sha256 == expected.sha256
    np.testing.assert_array_equal(loaded.train.data.numpy(), expected.train.data.numpy())
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("data_dir", ["MNIST", "MNIST/raw"])
def test_the_folder_may_be_one_of_those_that_torchvision_makes(
    tmp_path: Path, data_dir: str
) -> None:
    written("mnist", tmp_path)
    assert resolved(tmp_path / data_dir) == ("mnist", "local")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["mnist.npz"], "{0}: has mnist.npz, but no train-images-idx3-ubyte; put all four files"),
        (["mnist/train-00000-of-00001.parquet"], "{0}/mnist: has train-00000-of-00001.parquet,"),
        (["archive.zip", "mnist_train.csv"], "{0}: has archive.zip, mnist_train.csv, but no "),
        ([f"{IMAGES}.part"], f"{{0}}: has {IMAGES}.part, but no {IMAGES}; "),
        ([f"x/{IMAGES}.gz"], f"{{0}}/x: has {IMAGES}.gz, but no train-labels-idx1-ubyte; "),
        ([f"{HOME}/{IMAGES}"], f"{{0}}/{HOME}: has {IMAGES}, but no train-labels-idx1-ubyte; "),
    ],
)
def test_what_is_of_no_use_is_named_and_not_drawn_over(
    tmp_path: Path, files: list[str], said: str
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    expected = f"dataset: no mirror can be reached, and {said.format(tmp_path)}"
    for choice in ("auto", "mnist"):
        assert refusal(tmp_path, dataset=choice).startswith(expected)
    assert said.format(tmp_path) in str(why_absent("mnist", tmp_path))


def test_files_of_these_names_elsewhere_are_damaged_or_another_sets(tmp_path: Path) -> None:
    for path in written("mnist", tmp_path / "x"):
        path.rename(tmp_path / path.name)
    (tmp_path / IMAGES).write_bytes((tmp_path / IMAGES).read_bytes()[:-1])
    wrong = f"dataset: no mirror can be reached, and {tmp_path / IMAGES}: truncated: 47055 of "
    assert refusal(tmp_path).startswith(wrong)


def test_a_data_folder_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "mnist.zip").write_bytes(b"PK")
    (tmp_path / "link").symlink_to("nowhere")
    assert "mnist.zip: cannot be read (Not a directory); " in refusal(tmp_path / "mnist.zip")
    assert "link: cannot be read (No such file or directory); " in refusal(tmp_path / "link")


def test_a_file_that_is_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    path = written("mnist", tmp_path)[0]
    path.unlink()
    path.symlink_to("gone")
    assert refusal(tmp_path).startswith(f"{path}: cannot be read (no regular file); delete it")


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("part", ["", "MNIST", "MNIST/raw", f"{HOME}/{IMAGES}"])
def test_what_may_not_be_read_is_named(tmp_path: Path, part: str) -> None:
    folder = tmp_path / "data"
    written("mnist", folder)
    # pytest makes folders for one user alone
    opened = [path for path in (tmp_path, *tmp_path.parents) if not path.stat().st_mode & 0o001]
    modes = {path: path.stat().st_mode for path in (*opened, folder / part)}
    for path in opened:
        path.chmod(0o755)
    (folder / part).chmod(0)
    try:
        with as_nobody():
            said = refusal(folder)
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    assert "cannot be read (Permission denied); check " in said
    assert str(folder) in said


@pytest.mark.parametrize("files", [[], ["notes.txt"], ["lost+found/x"], ["a/b/c/d/mnist.npz"]])
def test_where_nothing_is_found_drawn_digits_stand_in(tmp_path: Path, files: list[str]) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    assert resolved(tmp_path, dataset="auto") == ("synthetic", "generated")
    assert why_absent("mnist", tmp_path) == f"not in {tmp_path}"


def test_what_this_package_keeps_beside_the_sets_is_none_of_theirs(tmp_path, monkeypatch) -> None:
    sources = "".join(path.read_text() for path in Path(mnistbench.__file__).parent.rglob("*.py"))
    kept = re.findall(r'cache(?:_folder\([^)]*\))? / "(\w+)"', sources)
    assert {*kept, "revisions"} == CACHES  # which earlier releases left
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MNISTBENCH_DATA_DIR", raising=False)
    for name in CACHES:
        (tmp_path / "mnistbench" / name / "a").mkdir(parents=True)
        (tmp_path / "mnistbench" / name / "a" / "b.npz").touch()
    assert resolved(default_data_dir(), dataset="auto") == ("synthetic", "generated")
    (tmp_path / "mnistbench" / "mine").mkdir()
    (tmp_path / "mnistbench" / "mine" / "b.npz").touch()
    assert "mine: has b.npz" in str(why_absent("mnist", default_data_dir()))


def test_files_of_other_sets_are_left_alone(tmp_path: Path) -> None:
    for name in RAW_FILES:
        if name != "mnist":
            written(name, tmp_path)
    assert resolved(tmp_path, dataset="auto") == ("synthetic", "generated")


def test_what_is_packed_cannot_be_mapped(tmp_path: Path) -> None:
    packed(written("mnist", tmp_path), tmp_path)
    said = refusal(tmp_path, loader="mapped")
    assert said.startswith(f"{tmp_path / HOME / IMAGES}.gz: is packed, and cannot be mapped ")
    assert said.endswith("; unpack it (gunzip), or use --loader resident")
