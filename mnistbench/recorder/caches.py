"""What is kept outside the folders of runs, and how much of the disk it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir

from mnistbench.recorder.compile_cache import kept_by_torch
from mnistbench.schema.disk_space import disk_use, size_text
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import cache_folder

__all__ = ["cache_lines"]


def cache_lines() -> Iterator[str]:
    """A line for each folder: its size, those of its parts, and how to clear it."""
    with suppress(InputError):  # no home folder: nothing is kept
        folder = cache_folder(otherwise="")
        sizes = sorted(((disk_use(one), one.name) for one in folder.glob("*")), reverse=True)
        parts = ", ".join(f"{name} {size_text(size)}" for size, name in sizes)
        total = size_text(sum(size for size, _ in sizes))
        told = f"{total} in {folder} ({parts}); remove any while no run uses it"
        yield told if parts else f"none in {folder}"
    for place in kept_by_torch():
        yield f"{size_text(disk_use(place))} in {place}, PyTorch's own; remove it while no run does"
    temporary = Path(gettempdir())
    if left := [*temporary.glob("mnistbench-*")]:
        size = size_text(sum(map(disk_use, left)))
        yield (
            f"{size} in {temporary}/mnistbench-*, of runs that are under way or were killed, or "
            "records that could be saved nowhere else; look before you remove it"
        )
