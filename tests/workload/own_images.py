"""Data as users bring them: files, folders of pictures and functions, made small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mnistbench.schema.config import RunConfig
from mnistbench.workload.datasets import load_dataset, resolve_dataset
from mnistbench.workload.image_set import LoadedDataset


def arrays(
    *, train: int = 60, test: int = 20, shape: tuple[int, ...] = (8, 6), classes: int = 3
) -> dict[str, np.ndarray]:
    """Random images, sorted by class, darker the lower their class is."""
    rng = np.random.default_rng(0)

    def split(num: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(num) * classes // num
        images = rng.integers(0, 100, (num, *shape))
        steps = (labels * 155 // classes).reshape(-1, *(1 for _ in shape))
        return (images + steps).astype(np.uint8), labels

    (x_train, y_train), (x_test, y_test) = split(train), split(test)
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def write_npz(path: Path, **changes: Any) -> str:
    """An ``.npz`` file of `arrays`, some of them changed, or left out where they are None."""
    values = arrays() | changes
    np.savez(path, **{name: value for name, value in values.items() if value is not None})
    return str(path)


def write_pictures(folder: Path, values: dict[str, np.ndarray], suffix: str = ".png") -> str:
    """`values`, images ``[N, H, W]`` or ``[N, H, W, 3]``, as ImageFolder wants them."""
    for split in ("train", "test"):
        labels = values[f"y_{split}"]
        for number, (pixels, label) in enumerate(zip(values[f"x_{split}"], labels, strict=True)):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / f"{number:03}{suffix}")
    return f"{folder}/"


def loaded(dataset: str, **values: Any) -> LoadedDataset:
    """What a run would train on."""
    config = RunConfig(dataset=dataset, global_batch_size=8, **values)
    name, _ = resolve_dataset(config, warn=print)
    return load_dataset(name, config)
