"""Folders of pictures in the layout of torchvision's ImageFolder, decoded once and kept as arrays.

As with torchvision transparency is dropped; where any picture has colours, all get three channels.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError
from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset
from tqdm.contrib.concurrent import thread_map

from mnistbench.schema.files import cache_folder, opened, why, written_aside
from mnistbench.schema.suggestions import did_you_mean
from mnistbench.workload.own_arrays import NAMES

__all__ = ["decoded_folder"]

_log = logging.getLogger(__name__)

_S = TypeVar("_S")
_T = TypeVar("_T")

_GREY = {"1", "L", "LA", "La"}
_DEEP = ("I", "F")  # how PIL's modes of more than eight bits begin, of which it would cut some off


def decoded_folder(folder: Path) -> Path:
    """An ``.npz`` file of the pictures below `folder`, images ``[N, C, H, W]``, classes by name.

    It lies in the user's cache by the content of all pictures, and is made where it is not there.

    Raises:
        ValueError: the folder has another layout, a picture cannot be read or has other sizes than
            the first; one line.
        InputError: the file cannot be written.
    """
    files = _files(folder)
    headers = _each("reading", lambda file: _header(folder, file[0]), files)
    digest, first = hashlib.sha256(usedforsecurity=False), (files[0][0], *headers[0][1])
    for (name, _), (sha256, size, mode) in zip(files, headers, strict=True):
        if mode.startswith(_DEEP):
            raise ValueError(f"{name}: has pixels of mode {mode}; save it with 8 bits")
        if size != headers[0][1]:
            said = ["{} has {} × {} pixels".format(*one) for one in ((name, *size), first)]
            raise ValueError(f"{', '.join(said)}; resize all to one size")
        digest.update(os.fsencode(name) + b"\0" + sha256)
    kept = cache_folder(otherwise="set XDG_CACHE_HOME") / "pictures"
    kept /= f"{digest.hexdigest()[:32]}.npz"
    if not kept.exists():
        _log.info(f"decoding {len(files):,} pictures, kept in {kept} for later runs")
        mode = "L" if _GREY.issuperset(mode for *_, mode in headers) else "RGB"
        _write(kept, folder, files, mode=mode, size=headers[0][1])
    return kept


def _each(doing: str, function: Callable[[_S], _T], items: Collection[_S]) -> list[_T]:
    """What `function` returns for each, made by threads, with a bar where that is seen."""
    hidden = not (sys.stderr.isatty() and _log.isEnabledFor(logging.INFO))
    with warnings.catch_warnings(action="ignore"):  # of PIL's, on colours that it leaves out
        return thread_map(function, items, desc=doing, delay=1, leave=False, disable=hidden)


def _files(folder: Path) -> list[tuple[str, int]]:
    """Names of all pictures below `folder`, those of train first, and the labels."""
    files, classes = list[tuple[str, int]](), list[str]()
    for split in ("train", "test"):
        try:
            names = [name for name in find_classes(folder / split)[0] if name[0] != "."]
            classes = classes or names
            if unknown := [name for name in names if name not in classes]:
                near = did_you_mean(unknown[0], classes) or f"; it has {', '.join(classes)}"
                raise ValueError(f"test has class {unknown[0]}, which train has not{near}")
            labels = {name: classes.index(name) for name in names}
            found = make_dataset(folder / split, labels, extensions=IMG_EXTENSIONS)
        except OSError as error:
            raise ValueError(_other_layout(folder, f"{split}: {why(error)}")) from None
        if len(classes) < 2:
            raise ValueError(f"train has one class only, {classes[0]}; there is nothing to learn")
        files += [(Path(path).relative_to(folder).as_posix(), label) for path, label in found]
    return files


def _other_layout(folder: Path, said: str) -> str:
    if not folder.is_dir():
        near = did_you_mean(folder.name, (one.name for one in folder.parent.glob("*/")))
        return f"there is no such folder{near}"
    there = ", ".join(sorted(one.name for one in folder.iterdir())[:8]) or "nothing"
    return f"{said}; pictures belong into train/CLASS/ and test/CLASS/, and there is {there}"


def _header(folder: Path, name: str) -> tuple[bytes, tuple[int, int], str]:
    """The sha256 of a file, and width, height and mode of its picture."""
    with _opened(folder, name) as (image, content):
        digest = hashlib.sha256(content, usedforsecurity=False).digest()
        return digest, image.size, image.mode


@contextmanager
def _opened(folder: Path, name: str) -> Iterator[tuple[Image.Image, bytes]]:
    """A picture, whose pixels are decoded inside, and its file's content."""
    try:
        with os.fdopen(opened(folder / name), "rb") as file:
            content = file.read()
        with Image.open(io.BytesIO(content)) as image:
            yield image, content
    except UnidentifiedImageError:
        raise ValueError(f"{name}: is no picture") from None
    except Exception as error:  # whatever PIL's decoders come up with
        raise ValueError(f"{name}: cannot be read ({why(error)})") from None


def _write(
    kept: Path, folder: Path, files: list[tuple[str, int]], *, mode: str, size: tuple[int, int]
) -> None:
    images = np.empty((len(files), len(mode), size[1], size[0]), np.uint8)

    def decode(index: int) -> None:
        with _opened(folder, files[index][0]) as (image, _):
            for channel, pixels in zip(images[index], image.convert(mode).split(), strict=True):
                channel[:] = np.asarray(pixels)

    _each("decoding", decode, range(len(files)))
    labels = np.array([label for _, label in files])
    end = sum(name.startswith("train/") for name, _ in files)
    values = zip(NAMES, (images[:end], labels[:end], images[end:], labels[end:]), strict=True)
    with written_aside(kept, images.nbytes) as aside, aside.open("xb") as file:
        np.savez(file, allow_pickle=False, **dict(values))
