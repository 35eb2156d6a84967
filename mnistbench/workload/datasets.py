"""The data sets: found, downloaded or generated, and verified before anyone trains on them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mnistbench.schema.component import is_own, is_reference
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import check_split
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import cache_folder
from mnistbench.schema.record import Source
from mnistbench.schema.streams import PASSING
from mnistbench.workload.download import DownloadError, download_set
from mnistbench.workload.generated import DIGIT_SHAPE, generate_digits
from mnistbench.workload.idx_files import (
    RAW_FILES,
    AbsentError,
    ImagesAndLabels,
    RawSet,
    find_set,
    read_files,
    read_set,
)
from mnistbench.workload.image_set import ImageSet, LoadedDataset, content_sha256
from mnistbench.workload.mapped_files import ImageFile, MappedImages, generated_file
from mnistbench.workload.own_data import load_own, own_name

__all__ = ["LoadedDataset"]

_log = logging.getLogger(__name__)

TEST_IMAGES = 10_000
"""Images in the generated test file."""

_found: dict[tuple[str, Path, bool], LoadedDataset] = {}
"""What `resolve_dataset` has read, by name, folder and whether it is mapped, until it is loaded."""

_kept: dict[Any, LoadedDataset] = {}
"""What `keep_dataset` has loaded, by all that it follows from."""


@dataclass(frozen=True)
class DatasetSpec:
    """What a data set is and where it comes from.

    Attributes:
        pixel_mean: mean of the training pixels in [0, 1].
        pixel_std: standard deviation of the training pixels in [0, 1].
        raw: its files; none for the generated digits.
        torchvision_class: name of the class that downloads it; none for the generated digits.
        options: what that class has to be told besides folder and split.
    """

    pixel_mean: float
    pixel_std: float
    raw: RawSet | None = None
    torchvision_class: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


# Means and deviations: the values in common use for each training file (MNIST's were checked); of
# the generated digits, measured on 60,000 of seed 0.
DATASETS: Mapping[str, DatasetSpec] = {
    "mnist": DatasetSpec(0.1307, 0.3081, RAW_FILES["mnist"], "MNIST"),
    "fashion-mnist": DatasetSpec(0.2860, 0.3530, RAW_FILES["fashion-mnist"], "FashionMNIST"),
    "kmnist": DatasetSpec(0.1918, 0.3483, RAW_FILES["kmnist"], "KMNIST"),
    "qmnist": DatasetSpec(0.1307, 0.3081, RAW_FILES["qmnist"], "QMNIST"),
    "emnist-digits": DatasetSpec(
        0.1722, 0.3310, RAW_FILES["emnist-digits"], "EMNIST", {"split": "digits"}
    ),
    "synthetic": DatasetSpec(0.1305, 0.2900),
}
"""Data sets by the name that a user types."""


def default_data_dir() -> Path:
    """``$MNISTBENCH_DATA_DIR``, else ``mnistbench`` in the user's cache folder.

    Raises:
        InputError: the user has no home folder.
    """
    if data_dir := os.environ.get("MNISTBENCH_DATA_DIR"):
        return Path(data_dir).expanduser()
    return cache_folder(otherwise="use --data-dir")


def why_absent(name: str, data_dir: Path) -> str | None:
    """Why the files of a data set are not there, in a line; none if they are, or it needs none.

    Raises:
        InputError: they are where they belong in `data_dir`, and one is damaged.
    """
    raw = DATASETS[name].raw
    try:
        if raw is not None:
            read_set(raw, data_dir)
    except AbsentError as error:
        return str(error) if error.is_found else f"not in {data_dir}"
    return None


def resolve_dataset(config: RunConfig, *, warn: Callable[[str], None]) -> tuple[str, Source]:
    """Decide which data set a run uses and make sure that its files are there.

    ``auto`` is MNIST where it is found or can be downloaded, else the generated digits, unless
    something lies there that may be meant for it. Safe to call from several processes at once, but
    meant for one per machine.

    `warn` takes the one line that says that, and why, the generated digits stand in.

    Raises:
        InputError: files are damaged or of no use, those of a set asked for by name cannot be had,
            or the mapped loader's cannot be written.
    """
    if is_own(config.dataset):  # found out when they are read
        return own_name(config.dataset), "function" if is_reference(config.dataset) else "local"
    name, source = _find(config, warn)
    file = _train_file(name, config)
    if file is not None:
        file.ensure()
    return name, source


def _find(config: RunConfig, warn: Callable[[str], None]) -> tuple[str, Source]:
    name: str = "mnist" if config.dataset == "auto" else config.dataset
    spec = DATASETS[name]
    if spec.raw is None:
        return name, "generated"
    data_dir = _data_dir(config)
    mapped = config.loader == "mapped"
    try:
        _found[name, data_dir, mapped] = _read(name, spec.raw, data_dir, mapped)
    except AbsentError as error:
        absent = error
    else:
        return name, "local"
    _log.info(f"downloading {name} to {data_dir}", extra=PASSING)
    try:
        download_set(
            spec.raw, data_dir, torchvision_class=spec.torchvision_class, options=spec.options
        )
    except DownloadError as error:
        if absent.is_found:  # drawn digits are not what was meant
            raise InputError(f"dataset: {error}, and {absent}") from None
        reason = f"{name} is not in {data_dir} and {error}"
        if config.dataset == "auto":
            warn(f"{reason}; using the built-in generated digits (--dataset synthetic)")
            return "synthetic", "generated"
        mend = "run again with a network, or use --data-dir or --dataset synthetic"
        raise InputError(f"dataset: {reason}; {mend}") from None
    return name, "downloaded"


def keep_dataset(config: RunConfig) -> None:
    """Load the set of `config` once for all forks of this process, while its files do not change.

    Each reads by itself what the mapped loader or the user brings. No thread is left behind.
    """
    if is_own(config.dataset) or config.loader == "mapped":
        return
    for name in ["mnist", "synthetic"] if config.dataset == "auto" else [config.dataset]:
        with suppress(InputError):
            _load_built_in(name, config, keep=True)
            return


def load_dataset(name: str, config: RunConfig) -> LoadedDataset:
    """Read and verify, or generate, the data set that `resolve_dataset` has named.

    Raises:
        InputError: files are missing or damaged, or too few images are left to train on.
    """
    if is_own(config.dataset):
        loaded = load_own(config, _data_dir(config))
    else:
        loaded = _load_built_in(name, config)
    mean, std, channels = config.pixel_mean, config.pixel_std, loaded.shape.channels
    return replace(
        loaded,
        pixel_mean=loaded.pixel_mean if mean is None else (mean,) * channels,
        pixel_std=loaded.pixel_std if std is None else (std,) * channels,
    )


def _load_built_in(name: str, config: RunConfig, *, keep: bool = False) -> LoadedDataset:
    spec, seed = DATASETS[name], config.synthetic_seed
    raw, num_train = spec.raw, config.synthetic_train_size
    check_split(config, num_train if raw is None else raw.files[0].shape[0])
    if raw is not None:
        data_dir, as_mapped = _data_dir(config), config.loader == "mapped"
        found = _found.pop((name, data_dir, as_mapped), None)
        return found or _read(name, raw, data_dir, as_mapped, keep=keep)
    file = _train_file(name, config)
    mapped = None if file is None else file.open()

    def draw() -> LoadedDataset:
        held = mapped and (mapped.images[:, 0], mapped.labels)
        drawn = held or generate_digits(num_train, seed=seed, split="train")
        test = generate_digits(TEST_IMAGES, seed=seed, split="test")
        return _verified(spec, (drawn, test), mapped)

    return draw() if mapped else _once((name, num_train, seed), draw, keep=keep)


def _read(
    name: str, raw: RawSet, data_dir: Path, mapped: bool, *, keep: bool = False
) -> LoadedDataset:
    def read(places: Sequence[Path]) -> LoadedDataset:
        def load() -> LoadedDataset:
            return _verified(DATASETS[name], read_files(raw, places, mapped=mapped))

        return _once((name, mapped, *map(_state, places)), load, keep=keep)

    return find_set(raw, data_dir, read)


def _state(path: Path) -> tuple[int, ...]:
    """What is another once a file was changed or replaced; nothing of one that is not there."""
    with suppress(OSError):
        is_at = path.stat()
        return is_at.st_dev, is_at.st_ino, is_at.st_size, is_at.st_mtime_ns, is_at.st_ctime_ns
    return ()


def _once(state: Any, load: Callable[[], LoadedDataset], *, keep: bool) -> LoadedDataset:
    loaded = _kept.get(state) or load()
    if keep:
        _kept[state] = loaded
    return loaded


def _verified(
    spec: DatasetSpec, digits: Sequence[ImagesAndLabels], mapped: MappedImages | None = None
) -> LoadedDataset:
    train, test = (ImageSet(images[:, None], labels) for images, labels in digits)
    train_sha256, sha256 = content_sha256(train, test)
    if mapped is not None:
        mapped.check(train_sha256)
    counts = np.bincount(train.targets.numpy(), minlength=DIGIT_SHAPE.num_classes)
    return LoadedDataset(
        train=train,
        test=test,
        sha256=sha256,
        read_ahead=None if mapped is None else mapped.read_ahead,
        pixel_mean=(spec.pixel_mean,),
        pixel_std=(spec.pixel_std,),
        shape=DIGIT_SHAPE,
        class_counts=tuple(counts.tolist()),
    )


def _data_dir(config: RunConfig) -> Path:
    return default_data_dir() if config.data_dir is None else Path(config.data_dir).expanduser()


def _train_file(name: str, config: RunConfig) -> ImageFile | None:
    """The generated digits' file for the mapped loader, which reads published ones as they lie."""
    if name != "synthetic" or config.loader != "mapped":
        return None
    return generated_file(config.synthetic_train_size, seed=config.synthetic_seed)
