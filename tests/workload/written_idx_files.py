"""Small idx files for tests: what published sets look like, in a few kilobytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mnistbench.schema.config import RunConfig
from mnistbench.workload.idx_files import RawSet


def small(raw: RawSet) -> RawSet:
    """The same files with 60 and 20 images, of no known checksum."""

    sizes = zip(raw.files, (60, 60, 20, 20), strict=True)
    files = (replace(f, shape=(num, *f.shape[1:]), digest=None) for f, num in sizes)
    return replace(raw, files=tuple(files))


def contents(raw: RawSet, seed: int = 0) -> dict[str, np.ndarray]:
    """Random images, and labels 0 to 9, for each file of `raw`."""
    rng = np.random.default_rng(seed)
    values = {}
    for file in raw.files:
        dtype = np.int32 if file.kind == "int" else np.uint8
        values[file.path] = rng.integers(0, 10 if "labels" in file.path else 256, file.shape, dtype)
    return values


def idx_bytes(values: np.ndarray) -> bytes:
    kind = {"uint8": 8, "int32": 12}[values.dtype.name]
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    entries = values.astype(values.dtype.newbyteorder(">")).tobytes()
    return bytes([0, 0, kind, values.ndim]) + sizes + entries


def write_files(values: dict[str, np.ndarray], folder: Path) -> None:
    for path, entries in values.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(idx_bytes(entries))


def files_below(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def config_of(data_dir: Path, **values: object) -> RunConfig:
    return RunConfig(data_dir=str(data_dir), val_size=10, global_batch_size=8, **values)
