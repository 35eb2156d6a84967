"""Where PyTorch keeps what it compiles, for the next run, and what all such caches take up."""

from __future__ import annotations

import atexit
import getpass
import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mnistbench.schema.disk_space import disk_use, size_text
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import cache_folder, own_alone, why

_CPUINFO = Path("/proc/cpuinfo")
_TELLS_CPUS_APART = ("cpu family", "model", "flags", "Features", "CPU ", "isa")
_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
_SPLITS_COMMANDS = frozenset(" \t\n\r\f\v'\"\\")  # which torch gives the compiler unquoted


def keep_compiled() -> str | None:
    """Have this process and its children keep compiled steps in the user's cache folder.

    PyTorch's own place is a temporary folder, whose name others can foresee. It compiles for the
    very processor, but takes what it finds, and homes move from machine to machine: each kind of
    processor and each version of torch has a folder of its own, this user's alone.

    ``TORCHINDUCTOR_CACHE_DIR`` wins where it is set. Where none will do there is a temporary one
    until this process ends, and the line that is returned says why. To be called before torch is
    imported, which settles it.
    """
    _refuse_shared_headers()
    if _VARIABLE in os.environ:
        return None
    try:
        cache = cache_folder(otherwise="set XDG_CACHE_HOME")
        name = f"torch-{version('torch')}-{_processor()}"
        wrong = _unfit(folder := own_alone(cache / "compiled" / name, within=cache))
    except (InputError, PackageNotFoundError) as error:
        wrong = str(error)
    except OSError as error:
        wrong = f"{error.filename}: {why(error)}"
    if wrong:
        usual = tempfile.gettempdir()
        places = [Path(place) for place in (usual, "/tmp", "/var/tmp")]  # noqa: S108 - private there
        fit = (place for place in places if place.is_dir() and not _unfit(place))
        folder = Path(tempfile.mkdtemp(prefix="mnistbench-compiled-", dir=next(fit, usual)))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[_VARIABLE] = str(folder)
    return f"what is compiled is not kept: {wrong}" if wrong else None


def kernels_folder() -> Path:
    """Where this package's own kernels are kept, for this kind of processor."""
    keep_compiled()
    return Path(os.environ[_VARIABLE]) / f"mnistbench-kernels-{_processor()}"


def _shared_folder() -> Path:
    """Where PyTorch keeps headers that it has compiled (some 150 MB), whatever its cache is."""
    user = re.sub(r'[\\/:*?"<>|]', "_", getpass.getuser())
    return Path(tempfile.gettempdir()) / f"torchinductor_{user}"


def _refuse_shared_headers() -> None:
    """Without headers compiled before where others could have made these: always in this folder."""
    with suppress(OSError, KeyError):
        folder = _shared_folder()
        if not _unfit(own_alone(folder, within=folder)):
            return
    os.environ.setdefault("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "0")


def _unfit(folder: Path) -> str | None:
    """Why code cannot be compiled and run in `folder`, if so."""
    if _SPLITS_COMMANDS & set(str(folder)):
        return f"{folder}: PyTorch cannot compile below a name with a space or a quote"
    if not os.access(folder, os.W_OK):
        return f"{folder}: no right to write"
    if hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return f"{folder}: nothing can be run there (noexec)"
    return None


def _processor() -> str:
    """Eight hexadecimal digits that are the same for processors with the same instructions."""
    told = platform.machine() + platform.processor()
    if _CPUINFO.exists():
        lines = _CPUINFO.read_text().splitlines()
        told += "\n".join(sorted({line for line in lines if line.startswith(_TELLS_CPUS_APART)}))
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def cache_lines() -> Iterator[str]:
    """A line for each folder: its size, those of its parts, and how to clear it."""
    with suppress(InputError):  # no home folder: nothing is kept
        folder = cache_folder(otherwise="")
        sizes = sorted(((disk_use(one), one.name) for one in folder.glob("*")), reverse=True)
        parts = ", ".join(f"{name} {size_text(size)}" for size, name in sizes)
        total = size_text(sum(size for size, _ in sizes))
        told = f"{total} in {folder} ({parts}); remove any while no run uses it"
        yield told if parts else f"none in {folder}"
    places = [Path(os.environ[_VARIABLE])] if _VARIABLE in os.environ else []
    with suppress(OSError, KeyError):
        places.append(_shared_folder())
    for place in filter(Path.is_dir, places):
        yield f"{size_text(disk_use(place))} in {place}, PyTorch's own; remove it while no run does"
    temporary = Path(tempfile.gettempdir())
    if left := [*temporary.glob("mnistbench-*")]:
        size = size_text(sum(map(disk_use, left)))
        yield (
            f"{size} in {temporary}/mnistbench-*, of runs that are under way or were killed, or "
            "records that could be saved nowhere else; look before you remove it"
        )
