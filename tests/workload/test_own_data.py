"""Data of the user's own: every form they come in, the order they get, and what is refused."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.schema.component import DataShape
from mnistbench.schema.errors import InputError
from mnistbench.workload.own_arrays import checked
from mnistbench.workload.own_data import own_name
from tests.workload.own_images import arrays, loaded, write_npz

GOOD = arrays()
FLOATS = GOOD["x_train"] / 255


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and a cache beside it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def with_one(images: np.ndarray, value: float) -> np.ndarray:
    images = images.copy()
    images[3, 2, 1] = value
    return images


layouts = {
    "[N, H, W]": lambda images: images[:, 0],
    "[N, C, H, W]": lambda images: images,
    "[N, H, W, C]": lambda images: images.transpose(0, 2, 3, 1),
    "upside down": lambda images: images[:, :, ::-1][:, :, ::-1],
    "Fortran": np.asfortranarray,
}
types = {
    "uint8": lambda images: images,
    "int64": lambda images: images.astype(np.int64),
    "big-endian int": lambda images: images.astype(">i2"),
    "float32": lambda images: images.astype(np.float32) / 255,
    "float64": lambda images: images / 255,
    "big-endian float": lambda images: (images / 255).astype(">f4"),
}


@given(
    st.sampled_from(sorted(layouts)),
    st.sampled_from(sorted(types)),
    st.sampled_from([1, 3]),
    st.sampled_from([(8, 6), (5, 5), (2, 9)]),
    st.sampled_from([np.uint8, np.int32, ">i8", np.uint64]),
    st.booleans(),
)
def test_every_layout_and_type_gives_the_same_images(
    layout: str, dtype: str, channels: int, size: tuple[int, int], label_type: type, as_column: bool
) -> None:
    channels = 1 if layout == "[N, H, W]" else channels
    plain = arrays(shape=(channels, *size))
    given = dict(plain)
    for split in ("train", "test"):
        given[f"x_{split}"] = layouts[layout](types[dtype](plain[f"x_{split}"]))
        labels = plain[f"y_{split}"].astype(label_type)
        given[f"y_{split}"] = labels[:, None] if as_column else labels
    found = checked(list(given.values()))
    assert found.shape == DataShape(channels, *size, 3)
    is_float = "float" in dtype
    for split, ours in (("train", found.train), ("test", found.test)):
        assert ours.data.dtype == (torch.float32 if is_float else torch.uint8)
        assert ours.data.is_contiguous()
        pixels = ours.data.numpy()
        np.testing.assert_array_equal(
            np.rint(pixels * 255) if is_float else pixels, plain[f"x_{split}"]
        )
        np.testing.assert_array_equal(ours.targets.numpy(), plain[f"y_{split}"])
        assert ours.targets.dtype == torch.int64
    scaled = plain["x_train"] / 255
    np.testing.assert_allclose(found.pixel_mean, scaled.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found.pixel_std, scaled.std((0, 2, 3)), rtol=1e-5)
    assert found.class_counts == (20, 20, 20)


def test_the_checksum_is_of_the_content_in_the_order_given() -> None:
    found = checked(list(GOOD.values()))
    digest = hashlib.sha256()
    for split in ("train", "test"):
        digest.update(GOOD[f"x_{split}"].tobytes())
        digest.update(GOOD[f"y_{split}"].astype(np.uint8).tobytes())
    assert found.sha256 == digest.hexdigest()


def test_many_classes_have_checksums_of_their_own() -> None:
    images = np.zeros((300, 2, 2), np.uint8)
    labels = np.arange(300)
    ours, theirs = (
        checked([images, some, images, labels]).sha256 for some in (labels, labels[::-1])
    )
    assert ours != theirs
    wrapped = np.concatenate([labels[256:], labels[44:256], labels[:44]])
    assert checked([images, wrapped, images, labels]).sha256 != ours


def test_a_channel_that_is_constant_is_centred_and_not_scaled() -> None:
    images = np.full((6, 2, 2), 0.3, np.float32)
    found = checked([images, np.arange(6) % 2, images, np.arange(6) % 2])
    assert found.pixel_mean == pytest.approx((0.3,))
    assert found.pixel_std == (1.0,)


def test_test_images_that_are_also_trained_on_are_counted() -> None:
    mixed = np.concatenate([GOOD["x_train"][:7], GOOD["x_test"][7:]])
    assert checked(list(GOOD.values())).num_duplicates == 0
    assert checked(list((GOOD | {"x_test": mixed}).values())).num_duplicates == 7


@pytest.mark.parametrize("loader", ["resident", "streaming", "mapped"])
def test_the_training_images_get_one_order_for_all_loaders(here: Path, loader: str) -> None:
    found = loaded(write_npz(here / "digits.npz"), loader=loader)
    plain = loaded(write_npz(here / "digits.npz"))
    assert torch.equal(found.train.data, plain.train.data)
    assert torch.equal(found.train.targets, plain.train.targets)
    labels = found.train.targets.tolist()
    assert labels != sorted(labels)
    assert set(labels[-10:]) == {0, 1, 2}  # which is val
    # an image keeps its label, and none is lost
    ours = sorted(zip(found.train.data.numpy().tolist(), labels, strict=True))
    theirs = GOOD["x_train"][:, None].tolist()
    assert ours == sorted(zip(theirs, GOOD["y_train"].tolist(), strict=True))
    assert (found.read_ahead is not None) == (loader == "mapped")


def test_a_mapped_set_is_written_once_and_checked(here: Path) -> None:
    path = write_npz(here / "digits.npz", x_train=FLOATS.astype("f4"), x_test=FLOATS[:20])
    loaded(path, loader="mapped")
    (file,) = (here.parent / "cache/mnistbench/mapped").iterdir()
    before = file.stat().st_mtime_ns
    loaded(path, loader="mapped")
    assert file.stat().st_mtime_ns == before
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match="checksum mismatch; delete it and run again"):
        loaded(path, loader="mapped")


def test_mean_and_deviation_can_be_given_for_all_channels(here: Path) -> None:
    path = write_npz(here / "digits.npz", **arrays(shape=(8, 6, 3)))
    found = loaded(path, pixel_mean=0.5, pixel_std=0.25)
    assert found.pixel_mean == (0.5, 0.5, 0.5)
    assert found.pixel_std == (0.25, 0.25, 0.25)


BAD_ARRAYS = [
    ({"x_test": None}, "has no x_test; it has x_train, y_train, y_test"),
    ({"y_train": GOOD["y_train"][:59]}, "x_train: has 60 images, y_train 59 labels"),
    ({"y_train": np.int64(3)}, "y_train: should be whole numbers [N], not int64 of shape ()"),
    ({"x_train": np.uint8(3)}, "x_train: is of shape (), not [N, H, W], "),
    ({"x_test": GOOD["x_test"][:0], "y_test": GOOD["y_test"][:0]}, "x_test: has no image"),
    ({"x_train": np.zeros((60, 0, 8), np.uint8)}, "x_train: has no image"),
    ({"x_train": np.array([{}] * 60)}, "holds pickled objects; save arrays of numbers"),
    ({"x_train": np.array(["a"] * 60)}, "x_train: holds <U1; images are uint8 or float32"),
    ({"x_train": with_one(FLOATS, np.nan)}, "x_train: pixels go from nan to nan; "),
    ({"x_train": with_one(FLOATS, np.inf)}, "to inf; float64 should be finite, 0 to 1"),
    ({"x_train": FLOATS * 255}, "divide 0 to 255 by 255"),
    ({"x_train": GOOD["x_train"].astype(int) - 200}, "; int64 should be 0 to 255"),
    (
        {"x_train": FLOATS},
        "x_test: images are uint8 of shape (1, 8, 6), of x_train float32 of shape (1",
    ),
    ({"x_test": arrays(shape=(6, 8))["x_test"]}, "x_test: images are uint8 of shape (1, 6, 8), "),
    ({"x_train": arrays(shape=(48,))["x_train"]}, "x_train: is of shape (60, 48), not [N, H, W], "),
    ({"x_train": arrays(shape=(3, 8, 3))["x_train"]}, "(60, 3, 8, 3) does not tell where "),
    ({"x_train": arrays(shape=(2, 8, 8))["x_train"]}, "(60, 2, 8, 8) does not tell where "),
    ({"y_train": GOOD["y_train"] + 1}, "y_train: has no label 0, but 1; classes are numbered "),
    ({"y_train": GOOD["y_train"] - 1}, "y_train: has no label 0, but -1; "),
    ({"y_train": GOOD["y_train"] * 10**18}, "y_train: has no label 1, but 1000000000000000000; "),
    ({"y_train": GOOD["y_train"] * 0}, "y_train: has one class only"),
    ({"y_test": GOOD["y_test"] + 1}, "y_test: has label 3, and y_train 0 to 2"),
    ({"y_train": GOOD["y_train"] / 2}, "y_train: should be whole numbers [N], not float64 of "),
    ({"y_train": np.eye(3)[GOOD["y_train"]]}, "; take .argmax(axis=1) of one-hot rows"),
]


@pytest.mark.parametrize(("changes", "said"), BAD_ARRAYS, ids=[said for _, said in BAD_ARRAYS])
def test_arrays_of_no_use_are_refused_in_one_line(
    here: Path, changes: dict[str, object], said: str
) -> None:
    write_npz(here / "digits.npz", **changes)
    assert said in refused("digits.npz")


def refused(dataset: str, **values: object) -> str:
    with pytest.raises(InputError) as caught:
        loaded(dataset, **values)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(("dataset: ", "dataset_args: "))
    return line


def test_files_of_no_use_are_refused_in_one_line(here: Path) -> None:
    whole = Path(write_npz(here / "digits.npz")).read_bytes()
    flipped = bytearray(whole)
    flipped[400] ^= 1
    contents = {"empty": b"", "text": b"no zip", "short": whole[:-40], "flipped": bytes(flipped)}
    for name, content in contents.items():
        Path(f"{name}.npz").write_bytes(content)
        assert f"dataset: {name}.npz: is damaged, or not by numpy.savez (" in refused(f"{name}.npz")
    np.save("one.npy", FLOATS)
    Path("one.npy").rename("one.npz")
    assert "is damaged, or not by numpy.savez" in refused("one.npz")
    Path("folder.npz").mkdir()
    assert "folder.npz: cannot be read (Is a directory)" in refused("folder.npz")
    os.mkfifo("pipe.npz")
    assert "pipe.npz: cannot be read (no regular file)" in refused("pipe.npz")
    assert "there is no such file; did you mean digits.npz?" in refused("digit.npz")
    assert "there is no such folder" in refused("pictures/")


FUNCTIONS = """
import numpy as np, torch
from torchvision.datasets import VisionDataset

x = np.random.default_rng(0).integers(0, 256, (60, 8, 6), np.uint8)
y = np.arange(60) % 3

def mapping(): return {"x_train": x, "y_train": y, "x_test": x[:20] ^ 1, "y_test": y[:20]}
def four(): return x, list(y), x[:20] ^ 1, y[:20]
def pairs(): return (x, y), (x[:20] ^ 1, y[:20])
def tensors(): return [torch.tensor(value) for value in four()]
def reversed(): return x[::-1][::-1], y, x[:20] ^ 1, y[:20]

class Grey(VisionDataset):
    def __init__(self, root, train=True, download=False):
        self.data, self.targets = (x, list(y)) if train else (x[:20] ^ 1, y[:20])
        assert download and root

class Split(VisionDataset):
    def __init__(self, root, split="train", copies=1):
        self.data, self.labels = (x, y) if split == "train" else (x[:20] ^ 1, y[:20])

class Wrong(VisionDataset):
    def __init__(self, root): pass

class Empty(VisionDataset):
    def __init__(self, root, train=True): pass

class Offline(VisionDataset):
    def __init__(self, root, train=True, download=False): raise OSError("no route to host")
Offline.__module__ = "torchvision.datasets"

def four_channels():
    return torch.rand(60, 4, 8, 6, requires_grad=True), y, torch.rand(20, 4, 8, 6), y[:20]
def half(): return torch.rand(60, 8, 6).bfloat16(), y, torch.rand(20, 8, 6).bfloat16(), y[:20]
def sized(size): return x[:size], y[:size], x[:size] ^ 1, y[:size]
def three(): return x, y, x
def nothing(): return None
def lacks(): return {"x_train": x, "y_train": y}
def ragged(): return x, y, x, [[1], [1, 2]]
def fails():
    raise KeyError("no such column")
"""


@pytest.fixture
def functions(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The file of `FUNCTIONS`, as a reference begins."""
    (here / "mine.py").write_text(FUNCTIONS)
    monkeypatch.setattr(sys, "path", sys.path[:])
    return "mine.py"


def test_functions_and_classes_return_data_in_many_forms(functions: str) -> None:
    names = ["mapping", "four", "pairs", "tensors", "reversed", "Grey", "Split"]
    assert len({loaded(f"{functions}:{name}").sha256 for name in names}) == 1
    found = loaded(f"{functions}:sized", dataset_args={"size": 30})
    assert found.class_counts == (10, 10, 10)
    assert loaded(f"{functions}:four_channels").shape == DataShape(4, 8, 6, 3)
    assert loaded(f"{functions}:half").train.data.dtype == torch.float32


def test_functions_of_no_use_are_refused_in_one_line(functions: str) -> None:
    wrong = {
        "three": "returns ndarray, ndarray, ndarray; it should return x_train, y_train, x_test, ",
        "nothing": "returns NoneType; it should return x_train, ",
        "lacks": "has no x_test; it has x_train, y_train",
        "ragged": "y_test: is no array (setting an array element with a sequence",
        "fails": "mine.py:42: KeyError: 'no such column'",
        "Wrong": "Wrong takes (root); it should be called with --dataset-args; a data set of ",
        "Empty": "keeps no arrays, as data and targets or labels; write a function ",
        "Offline": "no route to host; run again with a network, or put its files into ",
        "sized": "needs size",
    }
    for name, said in wrong.items():
        assert said in refused(f"{functions}:{name}"), name


def test_torchvisions_own_classes_are_known(mnist_dir: str) -> None:
    ours = loaded("torchvision.datasets:MNIST", data_dir=mnist_dir)
    assert ours.shape == DataShape(1, 28, 28, 10)
    assert ours.sha256 == loaded("mnist", data_dir=mnist_dir).sha256


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("digits.npz", "digits.npz"),
        ("/a/b c/my digits.npz", "my-digits.npz"),
        ("pictures/", "pictures-folder"),
        ("./mnist/", "mnist-folder"),
        ("my_nets:load", "my_nets-load"),
        ("a/my_nets.py:load", "my_nets.py-load"),
        ("./", "data-folder"),
        ("/", "data-folder"),
        (".hidden/", "hidden-folder"),
        ("/ä/", "data-folder"),
    ],
)
def test_a_record_calls_data_by_what_the_user_calls_them(dataset: str, name: str) -> None:
    assert own_name(dataset) == name
