"""Data of the user's own: a file, a folder of pictures, a function, or a class of torchvision's."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mnistbench.schema.component import is_reference
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError, first_line
from mnistbench.schema.files import cache_folder, opened, why
from mnistbench.schema.suggestions import did_you_mean
from mnistbench.workload.components import built_with, load_component
from mnistbench.workload.download import downloading
from mnistbench.workload.image_set import ImageSet, LoadedDataset, content_sha256
from mnistbench.workload.mapped_files import ImageFile
from mnistbench.workload.own_arrays import NAMES, checked

_ORDER_SEED = 20  # any: it has to be the same on every machine, for ever


def own_name(dataset: str) -> str:
    """What a record calls data of the user's own: no built-in set is called so."""
    last = re.split(r"[/\\]", dataset.rstrip("/\\"))[-1]
    name = re.sub(r"[^A-Za-z0-9._+-]+", "-", last).lstrip("._+-")[:150] or "data"
    return name if is_reference(dataset) or name.endswith(".npz") else f"{name}-folder"


def load_own(config: RunConfig, data_dir: Path) -> LoadedDataset:
    """Read and check data of the user's own; torchvision's classes have theirs in `data_dir`.

    The training images get one order, which depends on their number alone: val is cut off their
    end, and users have them sorted by class. The mapped loader's lie in the user's cache.

    Raises:
        InputError: there are no such data, or they are of no use.
    """
    try:
        given = _read(config, data_dir)
    except InputError:
        raise
    except (ValueError, MemoryError) as error:
        raise InputError(f"dataset: {config.dataset}: {first_line(error):.300}") from None
    places = torch.randperm(len(given.train), generator=torch.Generator().manual_seed(_ORDER_SEED))
    both = given.train.data, given.train.targets
    images, labels = (values.index_select(0, places).numpy() for values in both)
    if config.loader != "mapped":
        return replace(given, train=ImageSet(images, labels))
    mapped = ImageFile(
        path=cache_folder(otherwise="use --loader resident") / "mapped" / given.sha256,
        num_images=len(images),
        shape=given.shape,
        dtype=images.dtype,
        blocks=lambda: [(images, labels)],
    ).open()
    train = ImageSet(mapped.images, mapped.labels)
    mapped.check(content_sha256(train)[0])
    return replace(given, train=train, read_ahead=mapped.read_ahead)


def _read(config: RunConfig, data_dir: Path) -> LoadedDataset:
    if is_reference(config.dataset):
        return _called(config, data_dir)
    path = Path(config.dataset).expanduser()
    if path.suffix == ".npz":
        return checked(_arrays(path))
    from mnistbench.workload.image_folders import decoded_folder  # imports torchvision, a second

    kept = decoded_folder(path)
    try:
        return checked(_arrays(kept), channels_first=True)
    except ValueError as error:
        raise InputError(f"{kept}: {first_line(error)}; delete it and run again") from None


def _arrays(path: Path) -> list[Any]:
    """Those of an ``.npz`` file; none that would run code."""
    try:
        with os.fdopen(opened(path), "rb") as file, np.lib.npyio.NpzFile(file) as archive:
            values = {name: archive[name] if name in NAMES else None for name in archive}
    except FileNotFoundError:
        near = did_you_mean(path.name, (one.name for one in path.parent.glob("*.npz")))
        raise ValueError(f"there is no such file{near}") from None
    except (OSError, MemoryError) as error:
        raise ValueError(f"cannot be read ({why(error)})") from None
    except Exception as error:  # whatever Python's and numpy's readers come up with
        if "Object arrays" in str(error):  # numpy's words
            raise ValueError("holds pickled objects; save arrays of numbers") from None
        raise ValueError(f"is damaged, or not by numpy.savez ({first_line(error)})") from None
    return _by_name(values)


def _by_name(values: Mapping[str, Any]) -> list[Any]:
    if missing := [name for name in NAMES if name not in values]:
        raise ValueError(f"has no {missing[0]}; it has {', '.join(map(str, values)) or 'nothing'}")
    return [values[name] for name in NAMES]


def _called(config: RunConfig, data_dir: Path) -> LoadedDataset:
    """What the user's function returns, or a data set of torchvision's holds."""
    component, arguments = load_component("dataset", config.dataset), config.dataset_args
    vision = sys.modules.get("torchvision.datasets")  # a class of its kind has imported it
    if vision and isinstance(component, type) and issubclass(component, vision.VisionDataset):
        values: Any = [_split(component, arguments, data_dir, train=on) for on in (True, False)]
    else:
        values = built_with("dataset", component, arguments)
    if isinstance(values, Mapping):
        values = _by_name(values)
    values = values if isinstance(values, tuple | list) else [values]
    if len(values) == 2 and all(isinstance(pair, tuple | list) for pair in values):  # as Keras' own
        values = [value for pair in values for value in pair]
    if len(values) != len(NAMES):
        got = ", ".join(type(value).__name__ for value in values[:5]) or "nothing"
        raise ValueError(f"returns {got}; it should return {', '.join(NAMES)}")
    is_torch = all(isinstance(images, torch.Tensor) for images in values[::2])
    arrays = [_array(value, name) for value, name in zip(values, NAMES, strict=True)]
    return checked(arrays, channels_first=is_torch)


def _array(value: Any, name: str) -> npt.NDArray[Any]:
    try:
        if isinstance(value, torch.Tensor):
            value = (value.float() if value.is_floating_point() else value).detach().cpu()
        return np.asarray(value)
    except Exception as error:  # whatever the user's own kind of array comes up with
        raise ValueError(f"{name}: is no array ({first_line(error)})") from None


def _split(
    component: type, arguments: Mapping[str, Any], data_dir: Path, *, train: bool
) -> tuple[Any, Any]:
    """Images and labels of a split, downloaded where they are not there."""
    known = signature(component).parameters
    given: dict[str, Any] = {"root": str(data_dir), "train": train}
    if "split" in known and "split" not in arguments:
        given["split"] = "train" if given.pop("train") else "test"
    if known.keys() & {"download", "kwargs"}:
        given["download"] = True
    try:
        with downloading():
            found = built_with("dataset", component, arguments, **given)
    except InputError as error:
        if isinstance(error.__cause__, OSError | RuntimeError):
            mend = f"run again with a network, or put its files into {data_dir} (--data-dir)"
            raise InputError(f"{error}; {mend}") from None
        raise
    labels = getattr(found, "targets", getattr(found, "labels", None))
    if labels is None or not hasattr(found, "data"):
        mend = f"write a function that returns {', '.join(NAMES)}"
        raise ValueError(f"keeps no arrays, as data and targets or labels; {mend}")
    return found.data, labels
