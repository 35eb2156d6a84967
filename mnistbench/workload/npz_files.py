"""Arrays of an ``.npz`` file, read without pickle; those that are not compressed stay in the file.

numpy's own reader has everything in memory, also where the mapped loader only wants to copy it on.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from mnistbench.schema.files import opened, why
from mnistbench.schema.suggestions import did_you_mean

__all__ = ["read_npz"]

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_NAME_SIZES = 26  # where a member of an archive tells how much lies before its content


def read_npz(path: Path, names: Sequence[str]) -> list[npt.NDArray[Any]]:
    """The arrays called `names`, read-only where they lie in the file, mapped into memory.

    Raises:
        ValueError: no such file, or it cannot be read, is damaged or lacks one; one line.
    """
    try:
        with os.fdopen(opened(path), "rb") as file, zipfile.ZipFile(file) as archive:
            there = [name.removesuffix(".npy") for name in archive.namelist()]
            for name in names:
                if name not in there:
                    near = did_you_mean(name, there) or f"; it has {', '.join(there) or 'nothing'}"
                    raise ValueError(f"has no {name}{near}")
            return [_member(archive, name, file) for name in names]
    except FileNotFoundError:
        beside = (one.name for one in path.parent.glob("*.npz"))
        raise ValueError(f"there is no such file{did_you_mean(path.name, beside)}") from None
    except MemoryError:
        raise ValueError("does not fit memory; write it by numpy.savez, uncompressed") from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"is damaged, or no file of numpy.savez ({why(error)})") from None
    except (OSError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"cannot be read ({why(error)})") from None


def _member(archive: zipfile.ZipFile, name: str, file: IO[bytes]) -> npt.NDArray[Any]:
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as stream:
        header = _HEADERS.get(npy.read_magic(stream))
        if header is None:
            raise ValueError(f"{name}: has a header of another version; write it by numpy.savez")
        shape, is_fortran, dtype = header(stream)
        if dtype.hasobject:
            raise ValueError(f"{name}: holds pickled objects; save it with a dtype of numbers")
        start = stream.tell()
        num_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if num_bytes != info.file_size - start:
            raise ValueError(f"{name}: is damaged: {info.file_size - start} of {num_bytes} bytes")
        if info.compress_type != zipfile.ZIP_STORED:
            data = np.frombuffer(stream.read(), np.uint8)
        else:
            data = _mapped(file, info)[start:]
    return data.view(dtype).reshape(shape, order="F" if is_fortran else "C")


def _mapped(file: IO[bytes], info: zipfile.ZipInfo) -> npt.NDArray[np.uint8]:
    """The content of an uncompressed member, once its checksum is right."""
    file.seek(info.header_offset + _NAME_SIZES)
    before = sum(struct.unpack("<HH", file.read(4))) + _NAME_SIZES + 4
    data = np.memmap(file, np.uint8, "r", info.header_offset + before, (info.file_size,))
    if zlib.crc32(data.data) != info.CRC:
        raise zipfile.BadZipFile(f"bad checksum of {info.filename}")
    return data
