"""Folders of pictures in the layout of torchvision's ImageFolder, decoded once and kept as arrays.

As with torchvision transparency is dropped; where any picture has colours, all get three channels.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy
from PIL import Image, UnidentifiedImageError
from torchvision.datasets.folder import IMG_EXTENSIONS
from tqdm import tqdm

from mnistbench.schema.errors import first_line
from mnistbench.schema.files import cache_folder, opened, why, written_aside
from mnistbench.schema.suggestions import did_you_mean

__all__ = ["decoded_folder"]

_log = logging.getLogger(__name__)

_GREY = {"1", "L", "LA", "La"}
_BYTES = {*_GREY, "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"}
"""PIL's modes of eight bits a channel; of others it would cut off or round what is above."""

_BLOCK_IMAGES = 1024


class _Picture(NamedTuple):
    """A file, by its name below the folder, and what its header says."""

    name: str
    label: int
    sha256: bytes
    size: tuple[int, int]
    mode: str


def decoded_folder(folder: Path) -> Path:
    """An ``.npz`` file of the pictures below `folder`, images ``[N, C, H, W]``, classes by name.

    It lies in the user's cache by the content of all pictures, and is made where it is not there.

    Raises:
        ValueError: the folder has another layout, a picture cannot be read or has other sizes than
            the first; one line.
        InputError: the file cannot be written.
    """
    train, test = _classes(folder, "train"), _classes(folder, "test")
    for name in test.keys() - train.keys():
        near = did_you_mean(name, train) or f"; it has {', '.join(train)}"
        raise ValueError(f"test has class {name}, which train has not{near}")
    labels = {name: label for label, name in enumerate(train)}
    files = [(name, labels[its]) for split in (train, test) for its in split for name in split[its]]
    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(partial(_looked_at, folder), *zip(*files, strict=True)))
        digest, first = hashlib.sha256(usedforsecurity=False), pictures[0]
        for one in pictures:
            if one.size != first.size:
                sizes = (f"{p.name} has {p.size[0]} × {p.size[1]} pixels" for p in (one, first))
                raise ValueError(f"{', '.join(sizes)}; resize all to one size")
            digest.update(os.fsencode(one.name) + b"\0" + one.sha256)
        kept = cache_folder(otherwise="set XDG_CACHE_HOME") / "pictures"
        kept /= f"{digest.hexdigest()[:32]}.npz"
        if not kept.exists():
            _log.info(f"decoding {len(pictures):,} pictures, kept in {kept} for later runs")
            _write(kept, folder, pictures, pool)
    return kept


def _classes(folder: Path, split: str) -> dict[str, list[str]]:
    """Names of the pictures of each class, in order; what is hidden is left out."""
    found = {}
    for name in _folders(folder / split, folder):
        places = os.walk(folder / split / name, followlinks=True)
        files = (Path(place, one) for place, _, files in places for one in files)
        paths = (path.relative_to(folder).as_posix() for path in files)
        some = [path for path in paths if "/." not in path]
        found[name] = sorted(path for path in some if path.lower().endswith(IMG_EXTENSIONS))
        if not found[name]:
            raise ValueError(f"{split}/{name} has no picture ({', '.join(IMG_EXTENSIONS)})")
    if len(found) < 2 and split == "train":
        raise ValueError(f"train has {len(found)} class(es); it should have a folder for each")
    return found


def _folders(place: Path, folder: Path) -> list[str]:
    try:
        return sorted(one.name for one in place.iterdir() if one.is_dir() and one.name[0] != ".")
    except FileNotFoundError:
        if not folder.is_dir():
            beside = (one.name for one in folder.parent.glob("*") if one.is_dir())
            near = did_you_mean(folder.name, beside)
            raise ValueError(f"there is no such folder{near}") from None
        there = ", ".join(_folders(folder, folder)[:8])
        rule = "pictures should be in train/CLASS/ and test/CLASS/"
        raise ValueError(f"has no folder {place.name}, but {there or 'none'}; {rule}") from None
    except OSError as error:
        raise ValueError(f"{place}: cannot be read ({why(error)})") from None


def _looked_at(folder: Path, name: str, label: int) -> _Picture:
    content = _content(folder, name)
    with _opened(content, name) as image:
        if image.mode not in _BYTES:
            raise ValueError(f"{name}: has pixels of mode {image.mode}; save it with 8 bits")
        digest = hashlib.sha256(content, usedforsecurity=False).digest()
        return _Picture(name, label, digest, image.size, image.mode)


def _content(folder: Path, name: str) -> bytes:
    try:
        with os.fdopen(opened(folder / name), "rb") as file:
            return file.read()
    except OSError as error:
        raise ValueError(f"{name}: cannot be read ({why(error)})") from None


@contextmanager
def _opened(content: bytes, name: str) -> Iterator[Image.Image]:
    """A picture, of which the rest is read inside."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            yield image
    except UnidentifiedImageError:
        raise ValueError(f"{name}: is no picture") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name}: cannot be decoded ({first_line(error)})") from None


def _pixels(folder: Path, mode: str, name: str) -> bytes:
    """Of each channel, row by row."""
    with _opened(_content(folder, name), name) as image:
        return b"".join(channel.tobytes() for channel in image.convert(mode).split())


def _write(kept: Path, folder: Path, pictures: list[_Picture], pool: Executor) -> None:
    mode = "L" if all(one.mode in _GREY for one in pictures) else "RGB"
    (width, height), channels = pictures[0].size, len(mode)
    bar = tqdm(total=len(pictures), unit="picture", leave=False, disable=not sys.stderr.isatty())
    num_bytes = len(pictures) * channels * height * width
    with bar, written_aside(kept, num_bytes) as aside, zipfile.ZipFile(aside, "w") as archive:
        for split in ("train", "test"):
            some = [one for one in pictures if one.name.startswith(f"{split}/")]
            with archive.open(f"x_{split}.npy", "w", force_zip64=True) as file:
                shape = (len(some), channels, height, width)
                form = {"descr": "|u1", "fortran_order": False, "shape": shape}
                npy.write_array_header_1_0(file, form)
                for first in range(0, len(some), _BLOCK_IMAGES):
                    names = [one.name for one in some[first : first + _BLOCK_IMAGES]]
                    file.writelines(pool.map(partial(_pixels, folder, mode), names))
                    bar.update(len(names))
            with archive.open(f"y_{split}.npy", "w") as file:
                npy.write_array(file, np.array([one.label for one in some]))
