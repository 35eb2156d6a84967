"""A git revision of this package as a side of a comparison: its own checkout and environment.

Both are kept in the user's cache folder and used again: ``mnistbench/revisions/<commit>``, and
``mnistbench/environments/<hash>``, a virtual environment, made only for a revision whose
dependencies are not those of the repository as it stands. The last `_MOST_KEPT` of each stay.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from mnistbench.launch.children import run_child
from mnistbench.launch.git import check_out, commit_of, git, is_checkout
from mnistbench.launch.runs import RunFailedError, TrainSide
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import cache_folder, lock_file, own_alone
from mnistbench.schema.streams import say

__all__ = ["side_at"]

_MOST_KEPT = {"revisions": 8, "environments": 3}
"""Folders of each kind that stay in the cache, the last used: a checkout has some 10 MB."""

_in_use: list[int] = []
"""Descriptors of the markers of what this process runs, locked until it ends."""


def side_at(revision: str, *, name: str, arguments: tuple[str, ...], repository: Path) -> TrainSide:
    """The side that runs `arguments` with the package as it was at `revision`.

    Args:
        revision: anything git takes for one commit (``main``, ``HEAD~3``, ``v0.1.0``, a hash), or
            ``.`` for the working tree as it stands, uncommitted changes and all. The working tree
            is run where it is, so leave it alone until the comparison has ended.
        name: what messages call the side.
        arguments: flags of ``train``.
        repository: a folder in a git checkout of this package.

    Raises:
        InputError: not a git checkout, no such revision, no such package in it, or a cached
            checkout that was changed by hand.
        RunFailedError: the revision's dependencies cannot be installed.
    """
    top = Path(git(repository, "rev-parse", "--show-toplevel"))
    if revision == ".":
        _require_package(top, revision)
        return TrainSide(name=name, arguments=arguments, package_root=top)
    commit = commit_of(revision, top)
    tree = _checkout(commit, top)
    _require_package(tree, revision)
    needs = _requirements(tree)
    python = sys.executable
    if needs != _requirements(top):
        python = str(_environment(needs, tree) / "bin" / "python")
    return TrainSide(name=name, arguments=arguments, python=python, package_root=tree)


def _require_package(root: Path, revision: str) -> None:
    if not (root / "mnistbench" / "train.py").is_file():
        raise InputError(f"{revision!r}: has no mnistbench/train.py to run; use a later revision")


def _checkout(commit: str, top: Path) -> Path:
    """The files of `top` at `commit`, checked out now or before."""
    tree = _cache_folder() / "revisions" / commit
    _make_once(tree, usable=lambda: is_checkout(tree), build=lambda: check_out(commit, top, tree))
    unchanged = (".", ":(exclude,glob)**/__pycache__/**")
    if git(tree, "rev-parse", "HEAD") != commit or git(
        tree, "status", "--porcelain", "--", *unchanged
    ):
        raise InputError(f"{tree}: was changed after its checkout; remove this folder to renew it")
    return tree


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
    """A virtual environment with what the code in `tree` needs, made now or before."""
    identity = [*needs, sys.version_info[:2], sysconfig.get_platform()]
    digest = hashlib.sha256(json.dumps(identity).encode(), usedforsecurity=False).hexdigest()
    folder = _cache_folder() / "environments" / digest[:16]
    python = folder / "bin" / "python"

    def build() -> None:
        say(f"installing the dependencies of {tree.name[:10]} in {folder}: minutes, but only once")
        _run([sys.executable, "-P", "-m", "venv", str(folder)])
        constraints = tree / "constraints.txt"
        pinned = ["-c", str(constraints)] if constraints.exists() else []
        pip = [str(python), "-P", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if needs.dependencies:
            _run([*pip, *pinned, *needs.dependencies])

    _make_once(folder, usable=python.exists, build=build)
    return folder


def _run(command: list[str]) -> None:
    status, said = run_child(command)
    if status:
        errors = [line for line in said.splitlines() if line.startswith("ERROR")]
        why = (errors or said.strip().splitlines() or [f"exit status {status}"])[0]
        raise RunFailedError(f"dependencies cannot be installed: {why}")


def _cache_folder() -> Path:
    return cache_folder(otherwise="set XDG_CACHE_HOME")


def _make_once(folder: Path, *, usable: Callable[[], bool], build: Callable[[], None]) -> None:
    """Have `folder`, built by one process at a time, and built anew unless it was built whole.

    It stays until this process has ended; of others of its kind, those used last do.
    """
    marker = _marker(folder)
    try:
        own_alone(folder.parent, within=_cache_folder())
        with _lock(folder):
            whole = (
                marker.exists() and folder.is_dir() and own_alone(folder, within=_cache_folder())
            )
            if not (whole and usable()):
                marker.unlink(missing_ok=True)
                _remove(folder)
                build()
                folder.chmod(0o700)
            marker.touch()  # when it was used last
            _in_use.append(lock_file(marker))
            fcntl.flock(_in_use[-1], fcntl.LOCK_SH)
            _remove_old(folder.parent)
    except OSError as error:
        where, said = error.filename or folder, error.strerror or error
        raise InputError(f"{where}: cannot be made ({said})") from None


def _marker(folder: Path) -> Path:
    """The file that tells that `folder` is whole, and when it was used last."""
    return folder.with_name(f"{folder.name}.whole")


def _remove_old(kind: Path) -> None:
    """Remove from `kind` what was cut short, and what was not used lately or is now."""
    markers = sorted(kind.glob("*.whole"), key=lambda path: path.stat().st_mtime, reverse=True)
    kept = {path.stem for path in markers[: _MOST_KEPT[kind.name]]}
    for folder in [path for path in kind.iterdir() if path.is_dir()]:
        marker = _marker(folder)
        if folder.name in kept and marker.exists() and not _is_worktree(folder):
            continue
        with os.fdopen(lock_file(marker), "rb") as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(folder)
            marker.unlink()
    for left in kind.glob("*.lock"):  # version 0.2 had one for each
        left.unlink()


def _remove(folder: Path) -> None:
    if _is_worktree(folder):
        with suppress(InputError):
            repository = git(folder, "rev-parse", "--path-format=absolute", "--git-common-dir")
            git(Path(repository), "worktree", "remove", "-f", "-f", str(folder))
    if os.path.lexists(folder):
        shutil.rmtree(folder)


def _is_worktree(folder: Path) -> bool:
    """Whether the user's repository has `folder` on record, as version 0.2 left it."""
    return (folder / ".git").is_file()


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Have the cache of the kind of `folder` alone; the lock ends with the process, too."""
    with os.fdopen(lock_file(folder.parent / "lock"), "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that prepares {folder.parent.name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
