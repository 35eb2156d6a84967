"""Folders of pictures: decoded once, the same as their arrays, and refused where they are odd."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mnistbench.schema.component import DataShape
from mnistbench.schema.errors import InputError
from mnistbench.workload import image_folders
from tests.workload.own_images import arrays, loaded, write_npz, write_pictures

RNG = np.random.default_rng(0)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/mnistbench/pictures"


def picture(mode: str = "RGB", size: tuple[int, int] = (8, 6)) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (size[1], size[0], 3), np.uint8)).convert(mode)


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "png", **{"transparency": b"\0\x80"} if image.mode == "P" else {})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("shape", "channels", "suffix"), [((8, 6), 1, ".png"), ((8, 6, 3), 3, ".BMP")]
)
def test_a_folder_holds_what_its_arrays_hold(
    tmp_path: Path, cache: Path, shape: tuple[int, ...], channels: int, suffix: str
) -> None:
    values = arrays(shape=shape)
    ours = loaded(write_pictures(tmp_path / "pictures", values, suffix))
    theirs = loaded(write_npz(tmp_path / "arrays.npz", **values))
    assert ours.shape == DataShape(channels, 8, 6, 3)
    assert ours.sha256 == theirs.sha256
    assert torch.equal(ours.train.data, theirs.train.data)
    assert (ours.pixel_mean, ours.pixel_std) == (theirs.pixel_mean, theirs.pixel_std)


def test_pictures_are_decoded_once_and_again_where_one_has_changed(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_pictures(tmp_path / "pictures", arrays())
    before = loaded(folder)
    (kept,) = cache.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(image_folders, "_decoded", None)
        assert loaded(folder).sha256 == before.sha256
    shutil.copytree(folder, tmp_path / "moved")
    assert loaded(f"{tmp_path}/moved/").sha256 == before.sha256
    assert list(cache.iterdir()) == [kept]
    picture("L", (6, 8)).save(tmp_path / "pictures/train/class0/000.png")
    assert loaded(folder).sha256 != before.sha256
    assert len(list(cache.iterdir())) == 2


def test_what_is_kept_is_checked_when_it_is_read(tmp_path: Path, cache: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", arrays())
    loaded(folder)
    (kept,) = cache.iterdir()
    damaged = bytearray(kept.read_bytes())
    damaged[500] ^= 1
    kept.write_bytes(damaged)
    with pytest.raises(InputError, match=r"\.npz: is damaged, .*; delete it and run again$"):
        loaded(folder)


GOOD = {
    f"{split}/{name}/{number}.png": png(picture())
    for split in ("train", "test")
    for name in ("cat", "dog")
    for number in range(8)
}
GREY, OTHER_SIZE = png(picture("L")), png(picture(size=(9, 6)))
DEEP = png(Image.fromarray(RNG.integers(0, 60_000, (6, 8)).astype(np.uint16)))


def without(text: str) -> dict[str, bytes]:
    return {name: content for name, content in GOOD.items() if text not in name}


def place(folder: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return f"{folder}/"


@pytest.mark.parametrize(
    ("more", "channels"),
    [
        ({}, 3),
        (dict.fromkeys(GOOD, GREY), 1),
        ({"train/cat/0.png": GREY}, 3),
        ({"train/cat/0.png": png(picture("RGBA")), "train/cat/1.png": png(picture("P"))}, 3),
        ({"train/notes.txt": b"x", "train/cat/notes.txt": b"x", ".hidden": b"x"}, 3),
        ({"train/.ipynb_checkpoints/0.png": b"x"}, 3),
    ],
)
def test_modes_of_pictures_and_other_files(
    tmp_path: Path, cache: Path, more: dict[str, bytes], channels: int
) -> None:
    found = loaded(place(tmp_path / "pictures", GOOD | more))
    assert found.shape == DataShape(channels, 6, 8, 2)
    assert found.class_counts == (8, 8)


BAD_FOLDERS = [
    (
        GOOD | {"train/dog/5.png": OTHER_SIZE},
        "train/dog/5.png: has 9 × 6 pixels, and train/cat/0.png 8 × 6; resize all to one size",
    ),
    (GOOD | {"train/dog/5.png": b"none"}, "train/dog/5.png: is no picture"),
    (
        GOOD | {"train/dog/5.png": GOOD["train/dog/5.png"][:-60]},
        "train/dog/5.png: image file is truncated",
    ),
    (GOOD | {"train/dog/5.png": DEEP}, "train/dog/5.png: has pixels of mode I;16; save it "),
    (GOOD | {"train/emu/notes.txt": b""}, "no valid file for the classes emu"),
    (GOOD | {"test/emu/0.png": GREY}, "test has class emu, which train has not; it has cat, dog"),
    (GOOD | {"test/dogs/0.png": GREY}, "which train has not; did you mean dog?"),
    (without("dog"), "train has one class only, cat"),
    (without("test"), "test: No such file or directory; pictures belong into train/CLASS/ and "),
    (
        {name.partition("/")[2]: content for name, content in GOOD.items()},
        "pictures belong into train/CLASS/ and test/CLASS/, and there is cat, dog",
    ),
    ({"train": b""}, "train: Not a directory"),
]


@pytest.mark.parametrize(("files", "said"), BAD_FOLDERS, ids=[said for _, said in BAD_FOLDERS])
def test_folders_of_no_use_are_refused_in_one_line(
    tmp_path: Path, cache: Path, files: dict[str, bytes], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        loaded(place(tmp_path / "pictures", files))
    line = str(caught.value)
    assert line.startswith(f"dataset: {tmp_path}/pictures/: ")
    assert said in line
    assert "\n" not in line
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"^\S+: cannot be written \([^\n]*XDG_CACHE_HOME [^\n]*$"):
        loaded(write_pictures(tmp_path / "pictures", arrays()))
