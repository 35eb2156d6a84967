"""Data of the user's own: a file, a folder of pictures, a function, or a class of torchvision's."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchvision.datasets import VisionDataset

from mnistbench.schema.component import is_reference
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import check_split
from mnistbench.schema.errors import InputError, first_line
from mnistbench.schema.files import cache_folder
from mnistbench.workload.components import built_with, load_component
from mnistbench.workload.download import downloading
from mnistbench.workload.idx_files import ImagesAndLabels
from mnistbench.workload.image_folders import decoded_folder
from mnistbench.workload.image_set import ImageSet, LoadedDataset, content_sha256
from mnistbench.workload.mapped_files import ImageFile
from mnistbench.workload.npz_files import read_npz
from mnistbench.workload.own_arrays import NAMES, OwnArrays, checked, survey

__all__ = ["load_own", "own_name"]

_ORDER_SEED = 20  # any: it has to be the same on every machine, for ever
_BLOCK_IMAGES = 1024


def own_name(dataset: str) -> str:
    """What a record calls data of the user's own: no built-in set is called so."""
    plain = re.sub(r"[^A-Za-z0-9._+-]+", "-", re.split(r"[/\\]", dataset.rstrip("/\\"))[-1])
    name = plain.lstrip("._+-")[:150] or "data"
    return name if is_reference(dataset) or name.endswith(".npz") else f"{name}-folder"


def load_own(config: RunConfig, data_dir: Path) -> LoadedDataset:
    """Read and check data of the user's own, and put the training images into one fixed order.

    val is cut off their end, and users have them sorted by class. The order depends on their number
    alone. With the mapped loader they are written to a file in the user's cache.

    Args:
        config: `dataset`, `dataset_args`, `loader`, `pixel_mean`, `pixel_std` and the sizes that
            `check_split` compares are read.
        data_dir: where torchvision's classes have their files.

    Raises:
        InputError: there are no such data, or they are of no use.
    """
    try:
        arrays = _read(config, data_dir)
        found = survey(arrays)
    except InputError:
        raise
    except (ValueError, MemoryError) as error:
        raise InputError(f"dataset: {config.dataset}: {first_line(error)}") from None
    shape, count = arrays.shape, len(arrays.x_train)
    check_split(config, count)
    blocks = _in_order(arrays)
    mapped = None
    if config.loader == "mapped":
        file = ImageFile(
            path=cache_folder(otherwise="use --loader resident") / "mapped" / found.train_sha256,
            num_images=count,
            shape=shape,
            dtype=arrays.x_train.dtype,
            blocks=blocks,
        )
        mapped = file.open()
        train = ImageSet(mapped.images, mapped.labels)
        mapped.check(content_sha256(train)[0])
    else:
        train = _in_memory(arrays, blocks)
    means = found.pixel_mean if config.pixel_mean is None else (config.pixel_mean,) * shape.channels
    stds = found.pixel_std if config.pixel_std is None else (config.pixel_std,) * shape.channels
    return LoadedDataset(
        train=train,
        test=ImageSet(np.array(arrays.x_test, order="C"), arrays.y_test),
        sha256=found.sha256,
        pixel_mean=means,
        pixel_std=stds,
        shape=shape,
        class_counts=tuple(np.bincount(arrays.y_train).tolist()),
        num_duplicates=found.num_duplicates,
        read_ahead=None if mapped is None else mapped.read_ahead,
    )


def _in_order(arrays: OwnArrays) -> Callable[[], Iterator[ImagesAndLabels]]:
    generator = torch.Generator().manual_seed(_ORDER_SEED)
    order = torch.randperm(len(arrays.x_train), generator=generator).numpy()

    def blocks() -> Iterator[ImagesAndLabels]:
        for first in range(0, len(order), _BLOCK_IMAGES):
            rows = order[first : first + _BLOCK_IMAGES]
            yield np.ascontiguousarray(arrays.x_train[rows]), arrays.y_train[rows]

    return blocks


def _in_memory(arrays: OwnArrays, blocks: Callable[[], Iterator[ImagesAndLabels]]) -> ImageSet:
    images = np.empty(arrays.x_train.shape, arrays.x_train.dtype)
    labels = np.empty_like(arrays.y_train)
    first = 0
    for some, theirs in blocks():
        images[first : first + len(some)], labels[first : first + len(some)] = some, theirs
        first += len(some)
    return ImageSet(images, labels)


def _read(config: RunConfig, data_dir: Path) -> OwnArrays:
    if is_reference(config.dataset):
        return _called(config, data_dir)
    path = Path(config.dataset).expanduser()
    if path.suffix == ".npz":
        return checked(read_npz(path, NAMES))
    kept = decoded_folder(path)
    try:
        return checked(read_npz(kept, NAMES), channels_first=True)
    except ValueError as error:
        raise InputError(f"{kept}: {first_line(error)}; delete it and run again") from None


def _called(config: RunConfig, data_dir: Path) -> OwnArrays:
    """What the user's function returns, or a data set of torchvision's holds."""
    component, arguments = load_component("dataset", config.dataset), config.dataset_args
    if isinstance(component, type) and issubclass(component, VisionDataset):
        splits = (_split(component, arguments, data_dir, train=train) for train in (True, False))
        values: Any = [value for split in splits for value in split]
    else:
        values = built_with("dataset", component, arguments)
    if isinstance(values, Mapping):
        if missing := [name for name in NAMES if name not in values]:
            raise ValueError(f"returns no {missing[0]}; it has {', '.join(map(str, values))}")
        values = [values[name] for name in NAMES]
    values = values if isinstance(values, tuple | list) else [values]
    if len(values) == 2 and all(isinstance(pair, tuple | list) for pair in values):  # as Keras' own
        values = [value for pair in values for value in pair]
    if len(values) != len(NAMES):
        got = f"{len(values)} value(s), the first a {type(values[0]).__name__}" if values else "()"
        raise ValueError(f"returns {got}; it should return {', '.join(NAMES)}")
    is_torch = all(isinstance(images, torch.Tensor) for images in values[::2])
    arrays = [_array(value, name) for value, name in zip(values, NAMES, strict=True)]
    return checked(arrays, channels_first=is_torch)


def _array(value: Any, name: str) -> npt.NDArray[Any]:
    try:
        if isinstance(value, torch.Tensor):
            value = (value.float() if value.is_floating_point() else value).detach().cpu().numpy()
        return np.asarray(value)
    except Exception as error:  # whatever the user's own kind of array comes up with
        raise ValueError(f"{name}: is no array ({first_line(error)})") from None


def _split(
    component: type[VisionDataset], arguments: Mapping[str, Any], data_dir: Path, *, train: bool
) -> tuple[Any, Any]:
    """Images and labels of a split, downloaded where they are not there."""
    given: dict[str, Any] = {"root": str(data_dir), "train": train}
    parameters = inspect.signature(component).parameters
    if "split" in parameters and "split" not in arguments:
        given = {"root": str(data_dir), "split": "train" if train else "test"}
    if "download" in parameters or "kwargs" in parameters:
        given["download"] = True
    try:
        with downloading():
            found = built_with("dataset", component, arguments, **given)
    except InputError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        mend = f"run again with a network, or put its files into {data_dir} (--data-dir)"
        raise InputError(f"{error}; {mend}") from None
    labels = getattr(found, "targets", getattr(found, "labels", None))
    if labels is None or not hasattr(found, "data"):
        raise ValueError("keeps no arrays (data, and targets or labels); write a function")
    return found.data, labels
