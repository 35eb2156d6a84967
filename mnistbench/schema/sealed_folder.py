"""Folders that are whole or not there: written aside, sealed by a manifest, renamed into place."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Annotated

from pydantic import Field, ValidationError

from mnistbench.schema.errors import InputError
from mnistbench.schema.files import opened, why, write_new
from mnistbench.schema.strict_model import StrictModel

MANIFEST = "manifest.json"
_MAX_MANIFEST_BYTES = 2**16
_MAX_FILE_BYTES = 2**36
_NOT_TO_BE_HAD = {errno.EINVAL, errno.ENOTSUP, errno.EACCES}
"""What some network disks, and folders that may not be listed, answer to being synced."""

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _File(StrictModel):
    num_bytes: int = Field(ge=0, le=_MAX_FILE_BYTES)
    sha256: _Digest


class _Manifest(StrictModel):
    """The files of a folder; `sha256` is of this manifest's own text without it."""

    files: dict[str, _File]
    sha256: _Digest = "0" * 64

    def text(self) -> str:
        """How it is written, to the byte, so that any other text is a damaged one."""
        files = self.model_dump()["files"]
        bare = json.dumps({"files": files}, indent=1, sort_keys=True)
        digest = hashlib.sha256(bare.encode()).hexdigest()
        return json.dumps({"files": files, "sha256": digest}, indent=1, sort_keys=True) + "\n"


def seal(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make `folder` with `files` (name -> content) in it, on the disk and whole, or not at all.

    Raises:
        OSError: it cannot be made, or there is one already.
    """
    aside = folder.with_name(f".{folder.name}-{token_hex(4)}")
    new_folders = [parent for parent in aside.parents if not parent.exists()]
    aside.mkdir(parents=True)
    try:
        for name, content in files.items():
            write_new(aside / name, content)
        entries = {
            name: _File(num_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            for name, content in files.items()
        }
        write_new(aside / MANIFEST, _Manifest(files=entries).text().encode())
        _sync(aside)
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    for parent in (folder, *new_folders):
        _sync(parent.parent)


def is_aside(path: Path) -> bool:
    """Whether `path` is what a `seal` left that was killed."""
    return bool(re.fullmatch(r"\..+-[0-9a-f]{8}", path.name))


def unseal(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """The files `names` of a sealed `folder`, to the byte as they were sealed.

    Raises:
        InputError: one is missing, or differs from the manifest in any bit; or the manifest does.
    """
    manifest = _read_manifest(folder / MANIFEST)
    contents = {}
    for name in names:
        if name not in manifest.files:
            raise InputError(f"{folder / name}: is not in the manifest")
        expected, path = manifest.files[name], folder / name
        content = _read(path, max_bytes=expected.num_bytes)
        if len(content) != expected.num_bytes:
            raise InputError(f"{path}: {len(content)} of {expected.num_bytes} bytes")
        if hashlib.sha256(content).hexdigest() != expected.sha256:
            raise InputError(f"{path}: is damaged (another sha256 than when it was saved)")
        contents[name] = content
    return contents


def _read_manifest(path: Path) -> _Manifest:
    content = _read(path, max_bytes=_MAX_MANIFEST_BYTES)
    try:
        manifest = _Manifest.model_validate_json(content)
    except ValidationError:
        raise InputError(f"{path}: is damaged (not a manifest)") from None
    if manifest.text().encode() != content:
        raise InputError(f"{path}: is damaged (another sha256 than when it was saved)")
    return manifest


def _read(path: Path, *, max_bytes: int) -> bytes:
    try:
        with os.fdopen(opened(path), "rb") as file:
            content = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({why(error)})") from None
    if len(content) > max_bytes:
        raise InputError(f"{path}: more than {max_bytes} bytes, which it had when it was saved")
    return content


def _sync(folder: Path) -> None:
    """Have the names in `folder` on the disk too, where the system can (not on Windows)."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NOT_TO_BE_HAD:
            raise
