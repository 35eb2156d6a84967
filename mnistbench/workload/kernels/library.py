"""The C++ kernels as a shared library, compiled for this processor at first use, and kept."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import logging
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import torch

from mnistbench.schema.errors import InputError, first_line
from mnistbench.schema.files import lock_file, why
from mnistbench.schema.streams import PASSING

_SOURCE = "convolution.cpp"
_UNROLL = "--param=max-completely-peeled-insns=2000"
"""GCC unrolls the loops over registers by this; others do so by themselves."""
_FLAGS = ("-std=c++17", "-O3", _UNROLL, "-march=native", "-fopenmp", "-shared", "-fPIC")
_LINKED = ("-Wl,--as-needed", "-Wl,-z,defs")
_LONGEST_S = 300
_OPENMP = re.compile(r"/\S*/lib(?:gomp|i?omp5?)[^/\s]*\.so[.\d]*$", re.MULTILINE)

_log = logging.getLogger(__name__)
_loaded: list[ctypes.CDLL] = []


def kernel(name: str, num_pointers: int) -> Callable[..., None]:
    """The function of so many pointers to which the library's ``mb_<name>`` points.

    For use once `why_unavailable` found nothing against it.
    """
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * num_pointers)
    return function.in_dll(_loaded[0], f"mb_{name}")


def has_kernel(name: str) -> bool:
    """Whether the library has ``mb_<name>`` for this processor."""
    return hasattr(_loaded[0], f"mb_{name}")


@cache
def why_unavailable(folder: Path) -> str | None:
    """Load the kernels into this process; gives in one line why they cannot be had, if so.

    They are compiled into `folder`, which is the user's own and this kind of processor's alone, by
    one process at a time. A compiler that failed is not tried again.
    """
    try:
        _loaded[:] = [_library(folder)]
    except InputError as error:
        return str(error)
    except OSError as error:
        return f"no kernels here: {error.filename or folder}: {why(error)}"
    except subprocess.TimeoutExpired:
        return f"the C++ compiler took more than {_LONGEST_S} s"
    return None


def _library(folder: Path) -> ctypes.CDLL:
    compiler, openmp = _compiler(), _openmp()
    source = files(__package__).joinpath(_SOURCE)
    told = "\0".join([*compiler, *_FLAGS, openmp, source.read_text()])
    name = hashlib.sha256(told.encode()).hexdigest()[:16]
    path = folder / f"{name}.so"
    if kept := _kept(path):  # without a lock, which a disk that is only read has not
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    lock = lock_file(folder / "lock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kept := _kept(path):  # another process has compiled it meanwhile
            return kept
        with as_file(source) as file:
            _compile([*compiler, *_FLAGS, str(file), openmp, *_LINKED], path)
    finally:
        os.close(lock)
    return _checked(path)


def _kept(path: Path) -> ctypes.CDLL | None:
    """The library at `path`, unless there is none or half of one, of a disk that was full."""
    with suppress(OSError, AttributeError):
        return _checked(path)
    return None


def _compiler() -> list[str]:
    """The command that torch's own compiler uses: ``CXX``, else g++, or clang++."""
    try:
        asked = shlex.split(os.environ.get("CXX", ""))
    except ValueError as error:
        raise InputError(f"CXX: {error}") from None
    found = shutil.which(asked[0]) if asked else shutil.which("g++") or shutil.which("clang++")
    if found is None:
        raise InputError(f"no C++ compiler ({asked[0] if asked else 'g++, clang++'}) is installed")
    return [found, *asked[1:]]


def _openmp() -> str:
    """PyTorch's own OpenMP, by which its threads are ours: two pools would fight for the cores."""
    found = _OPENMP.findall(Path("/proc/self/maps").read_text())
    if not found:
        raise InputError("the OpenMP library of this PyTorch is not found")
    return str(min(found, key=lambda path: "/torch" not in path))


def _compile(command: Sequence[str], path: Path) -> None:
    _log.info("compiling kernels (once, about 10 s)", extra=PASSING)
    made = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            [*command, "-o", str(made)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_LONGEST_S,
        )
        if done.returncode:
            said = next((line for line in done.stderr.splitlines() if "error" in line), "")
            problem = first_line(said or done.stderr) or f"status {done.returncode}"
            raise InputError(f"the C++ compiler failed: {problem}")
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)


def _checked(path: Path) -> ctypes.CDLL:
    """The library at `path`, once its threads are seen to be torch's."""
    library = ctypes.CDLL(str(path))
    if library.omp_get_max_threads() != torch.get_num_threads():
        raise InputError("kernels would have threads of their own beside torch's")
    return library
