"""Folders of pictures in the layout of torchvision's ImageFolder, decoded once and kept as arrays.

As with torchvision transparency is dropped; where any picture has colours, all get three channels.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset
from tqdm.contrib.concurrent import thread_map

from mnistbench.schema.files import cache_folder, opened, why, written_aside
from mnistbench.schema.suggestions import did_you_mean
from mnistbench.workload.own_arrays import NAMES

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

_GREY = {"1", "L", "LA"}
_DEEP = ("I", "F")  # how PIL's modes of more than eight bits begin, of which it would cut some off


def decoded_folder(folder: Path) -> Path:
    """An ``.npz`` file of the pictures below `folder`, images ``[N, C, H, W]``, classes by name.

    It lies in the user's cache by the content of all pictures, and is made where it is not there.

    Raises:
        ValueError: the folder has another layout, a picture cannot be read or has other sizes than
            the first; one line.
        InputError: the file cannot be written.
    """
    names, labels, end = _files(folder)
    hashes = _each("reading", folder, names, lambda file: hashlib.sha256(file.read()))
    digest = hashlib.sha256(usedforsecurity=False)
    for name, content in zip(names, hashes, strict=True):
        digest.update(os.fsencode(name) + b"\0" + content.digest())
    kept = cache_folder(otherwise="set XDG_CACHE_HOME") / "pictures"
    kept /= f"{digest.hexdigest()[:32]}.npz"
    if not kept.exists():
        _log.info(f"decoding {len(names):,} pictures, kept in {kept} for later runs")
        images = _decoded(folder, names)
        parts = images[:end], labels[:end], images[end:], labels[end:]
        with written_aside(kept, images.nbytes) as aside, aside.open("xb") as file:
            np.savez(file, **dict[str, Any](zip(NAMES, parts, strict=True)))
    return kept


def _files(folder: Path) -> tuple[list[str], npt.NDArray[np.int64], int]:
    """Names of all pictures below `folder`, those of train first, their labels; how many train."""
    files, classes, num_train = list[tuple[str, int]](), list[str](), 0
    for split in ("train", "test"):
        num_train = len(files)
        try:
            names = [name for name in find_classes(folder / split)[0] if name[0] != "."]
            classes = classes or names
            if unknown := [name for name in names if name not in classes]:
                near = did_you_mean(unknown[0], classes) or f"; it has {', '.join(classes)}"
                raise ValueError(f"test has class {unknown[0]}, which train has not{near}")
            labels = {name: classes.index(name) for name in names}
            files += make_dataset(folder / split, labels, extensions=IMG_EXTENSIONS)
        except OSError as error:
            raise ValueError(_other_layout(folder, f"{split}: {why(error)}")) from None
        if len(classes) < 2:
            raise ValueError(f"train has one class only, {classes[0]}; there is nothing to learn")
    names = [Path(path).relative_to(folder).as_posix() for path, _ in files]
    return names, np.array([label for _, label in files]), num_train


def _other_layout(folder: Path, said: str) -> str:
    if not folder.is_dir():
        near = did_you_mean(folder.name, (one.name for one in folder.parent.glob("*/")))
        return f"there is no such folder{near}"
    there = ", ".join(sorted(one.name for one in folder.iterdir())[:8]) or "nothing"
    return f"{said}; pictures belong into train/CLASS/ and test/CLASS/, and there is {there}"


def _each(
    doing: str, folder: Path, names: Sequence[str], function: Callable[[BinaryIO], _T]
) -> list[_T]:
    """What `function` makes of each file, by threads, with a bar where that is seen."""

    def one(name: str) -> _T:
        try:
            with os.fdopen(opened(folder / name), "rb") as file:
                return function(file)
        except Exception as error:  # whatever PIL's decoders come up with
            said = "is no picture" if isinstance(error, UnidentifiedImageError) else why(error)
            raise ValueError(f"{name}: {said}") from None

    hidden = not (sys.stderr.isatty() and _log.isEnabledFor(logging.INFO))
    with warnings.catch_warnings(action="ignore"):  # of PIL's, on colours that it leaves out
        return thread_map(one, names, desc=doing, delay=1, leave=False, disable=hidden)


def _decoded(folder: Path, names: Sequence[str]) -> npt.NDArray[np.uint8]:
    def pixels(file: BinaryIO) -> npt.NDArray[np.uint8]:
        with Image.open(file) as image:
            if image.mode.startswith(_DEEP):
                raise ValueError(f"has pixels of mode {image.mode}; save it with 8 bits")
            if image.size != size:
                said = "has {} × {} pixels, and {} {} × {}; resize all to one size"
                raise ValueError(said.format(*image.size, names[0], *size))
            return np.asarray(image.convert("L" if image.mode in _GREY else "RGB"))

    (size,) = _each("reading", folder, names[:1], lambda file: Image.open(file).size)
    decoded = _each("decoding", folder, names, pixels)
    channels = 3 if any(one.ndim == 3 for one in decoded) else 1
    images = np.empty((len(names), channels, size[1], size[0]), np.uint8)
    for image, one in zip(images, decoded, strict=True):
        image[:] = one if one.ndim == 2 else one.transpose(2, 0, 1)
    return images
