"""Virtual environments with what a revision of this package needs, kept in the user's cache.

One is ``mnistbench/environments/<hash>``, made only for a revision whose dependencies are not those
of the repository as it stands. The last three stay.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from mnistbench.launch.children import run_child
from mnistbench.launch.runs import RunFailedError
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import cache_folder, lock_file, own_alone
from mnistbench.schema.streams import say

_MOST_KEPT = 3

_in_use: list[int] = []
"""Descriptors of the markers of what this process runs, locked until it ends."""


def python_for(tree: Path, *, top: Path) -> str:
    """The interpreter for the package in `tree`: this one, if it needs what that in `top` does.

    Raises:
        InputError: it cannot be read what is needed, or the cache cannot be written.
        RunFailedError: the dependencies cannot be installed.
    """
    needs = _requirements(tree)
    if needs == _requirements(top):
        return sys.executable
    return str(_environment(needs, tree) / "bin" / "python")


class _Requirements(NamedTuple):
    dependencies: tuple[str, ...]
    pins: tuple[str, ...]


def _requirements(root: Path) -> _Requirements:
    """The dependencies that `root` declares, and the versions it pins for them."""
    path = root / "pyproject.toml"
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: does not tell what to install ({error})") from None
    constraints = root / "constraints.txt"
    lines = constraints.read_text(encoding="utf-8").splitlines() if constraints.exists() else []
    pins = {line.strip() for line in lines if line.strip() and line.strip()[0] != "#"}
    return _Requirements(tuple(sorted(project.get("dependencies", []))), tuple(sorted(pins)))


def _environment(needs: _Requirements, tree: Path) -> Path:
    """A virtual environment with what the code in `tree` needs, made now or before.

    It stays until this process has ended; of others, those used last do.
    """
    identity = [*needs, sys.version_info[:2], sysconfig.get_platform()]
    digest = hashlib.sha256(json.dumps(identity).encode(), usedforsecurity=False).hexdigest()
    cache = cache_folder(otherwise="set XDG_CACHE_HOME")
    folder = cache / "environments" / digest[:16]
    marker = _marker(folder)
    try:
        own_alone(folder.parent, within=cache)
        with _lock(folder.parent):
            is_whole = marker.exists() and (folder / "bin" / "python").exists()
            if not (is_whole and own_alone(folder, within=cache)):
                marker.unlink(missing_ok=True)
                shutil.rmtree(folder, ignore_errors=True)
                _install(needs, tree, folder)
                folder.chmod(0o700)
            marker.touch()  # when it was used last
            _in_use.append(lock_file(marker))
            fcntl.flock(_in_use[-1], fcntl.LOCK_SH)
            _remove_old(folder.parent)
    except OSError as error:
        where, said = error.filename or folder, error.strerror or error
        raise InputError(f"{where}: cannot be made ({said})") from None
    return folder


def _install(needs: _Requirements, tree: Path, folder: Path) -> None:
    say(f"installing the dependencies for {tree.name} in {folder}: minutes, but only once")
    _run([sys.executable, "-P", "-m", "venv", str(folder)])
    constraints, python = tree / "constraints.txt", str(folder / "bin" / "python")
    pinned = ["-c", str(constraints)] if constraints.exists() else []
    pip = [python, "-P", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if needs.dependencies:
        _run([*pip, *pinned, *needs.dependencies])


def _run(command: list[str]) -> None:
    status, said = run_child(command)
    if status:
        errors = [line for line in said.splitlines() if line.startswith("ERROR")]
        why = (errors or said.strip().splitlines() or [f"exit status {status}"])[0]
        raise RunFailedError(f"dependencies cannot be installed: {why}")


def _marker(folder: Path) -> Path:
    """The file that tells that `folder` is whole, and when it was used last."""
    return folder.with_name(f"{folder.name}.whole")


def _remove_old(environments: Path) -> None:
    """Remove what was cut short, and what was not used lately or is now."""
    markers = sorted(
        environments.glob("*.whole"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    kept = {path.stem for path in markers[:_MOST_KEPT]}
    for folder in [path for path in environments.iterdir() if path.is_dir()]:
        marker = _marker(folder)
        if folder.name in kept and marker.exists():
            continue
        with os.fdopen(lock_file(marker), "rb") as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
            marker.unlink()


@contextmanager
def _lock(environments: Path) -> Iterator[None]:
    """Have all of them alone; the lock ends with the process, too."""
    with os.fdopen(lock_file(environments / "lock"), "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that makes an environment")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
