"""A git revision as a side of a comparison, of this package or of a user's own repository.

Of a user's own, a checkout is made for one comparison, in which its script may write what it likes;
it runs in the environment of this process.

Of this package, a revision has its own checkout and environment. Both are kept in the user's cache
folder and used again: ``mnistbench/revisions/<commit>``, and ``mnistbench/environments/<hash>``, a
virtual environment, made only for a revision whose dependencies are not those of the repository as
it stands. The last `_MOST_KEPT` of each stay.

A checkout is a repository of its own, which reads the objects of the user's where they lie: in the
user's, nothing is registered or written.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from mnistbench.launch.children import run_child
from mnistbench.launch.runs import RunFailedError, TrainSide
from mnistbench.launch.scripts import Script, ScriptSide
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import cache_folder, lock_file, own_alone
from mnistbench.schema.streams import say

__all__ = ["script_sides", "side_at"]

_GIT_OVERRIDES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")
"""What git sets for its hooks; with these it would not look at the folder it is pointed to."""

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
    top = Path(_git(repository, "rev-parse", "--show-toplevel"))
    if revision == ".":
        _require_package(top, revision)
        return TrainSide(name=name, arguments=arguments, package_root=top)
    commit = _resolve(revision, top)
    tree = _checkout(commit, top)
    _require_package(tree, revision)
    needs = _requirements(tree)
    python = sys.executable
    if needs != _requirements(top):
        python = str(_environment(needs, tree) / "bin" / "python")
    return TrainSide(name=name, arguments=arguments, python=python, package_root=tree)


def script_sides(
    revisions: Sequence[tuple[str, str]], *, command: str, checkouts: Path
) -> list[ScriptSide]:
    """Sides that run `command` in this folder as it was at each of `revisions`.

    All of them run in this process's environment: where a revision declares other dependencies,
    that is said.

    Args:
        revisions: of each side the revision, as of `side_at`, and what messages call the side.
        command: what is run, with ``{seed}``.
        checkouts: an existing folder; each side's checkout is made in it.

    Raises:
        InputError: not a git checkout, no such revision, this folder is not in it, or `command` is
            none.
    """
    script = Script.parse(command, flag="command")
    top = Path(_git(Path(), "rev-parse", "--show-toplevel"))
    here = _git(Path(), "rev-parse", "--show-prefix")
    trees = []
    for revision, name in revisions:
        trees.append(top if revision == "." else checkouts / name)
        if revision != ".":
            _check_out(_resolve(revision, top), top, trees[-1])
        if not (trees[-1] / here).is_dir():
            raise InputError(f"{revision!r}: has no folder {here} to run in; use a later revision")
    declared = [_declared(tree) for tree in trees]
    if other := sorted({name for one in declared for name, _ in one ^ declared[0]}):
        say(f"{', '.join(other)}: not the same; each side runs with what is installed here")
    named = zip(trees, (name for _, name in revisions), strict=True)
    return [_script_side(name, script, tree=tree, here=here) for tree, name in named]


def _declared(root: Path) -> set[tuple[str, bytes]]:
    """Files that declare dependencies, and what is in them."""
    kinds = ("pyproject.toml", "requirements*.txt", "setup.*", "uv.lock", "environment.y*ml")
    return {(path.name, path.read_bytes()) for kind in kinds for path in root.glob(kind)}


def _script_side(name: str, script: Script, *, tree: Path, here: str) -> ScriptSide:
    """The side in the folder `here` of `tree`.

    Packages in `tree` or its ``src`` come before installed ones. A program that only the working
    tree has, such as ``.venv/bin/python``, is run from there.
    """
    program, *others = script.words
    if "/" in program and not (tree / here / program).exists() and Path(program).exists():
        script = Script((str(Path(program).absolute()), *others))
    packages = [str(root) for root in (tree / "src", tree) if any(root.glob("*/__init__.py"))]
    path = os.pathsep.join(filter(None, [*packages, os.environ.get("PYTHONPATH")]))
    environment = _without_overrides() | ({"PYTHONPATH": path} if path else {})
    return ScriptSide(name=name, script=script, work_dir=tree / here, environment=environment)


def _without_overrides() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in _GIT_OVERRIDES}


def _git(folder: Path, *arguments: str) -> str:
    """What ``git`` run in `folder` prints; its complaint as an `InputError`."""
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - the user's git
            env=_without_overrides(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise InputError("revisions: git is not installed; compare records instead") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        says = next((line for line in lines if line.startswith("fatal: ")), lines[-1])
        raise InputError(f"{folder}: {says.removeprefix('fatal: ')}")
    return done.stdout.strip()


def _resolve(revision: str, top: Path) -> str:
    """The full hash of the commit that `revision` names."""
    unknown = f"{revision!r}: names no commit in {top}; see git log, or git fetch"
    if not revision or revision.startswith("-"):
        raise InputError(unknown)
    try:
        return _git(top, "rev-parse", "--quiet", "--verify", f"{revision}^{{commit}}")
    except InputError:
        raise InputError(unknown) from None


def _require_package(root: Path, revision: str) -> None:
    if not (root / "mnistbench" / "train.py").is_file():
        raise InputError(f"{revision!r}: has no mnistbench/train.py to run; use a later revision")


def _checkout(commit: str, top: Path) -> Path:
    """The files of `top` at `commit`, checked out now or before."""
    tree = _cache_folder() / "revisions" / commit
    _make_once(tree, usable=lambda: _is_checkout(tree), build=lambda: _check_out(commit, top, tree))
    unchanged = (".", ":(exclude,glob)**/__pycache__/**")
    if _git(tree, "rev-parse", "HEAD") != commit or _git(
        tree, "status", "--porcelain", "--", *unchanged
    ):
        raise InputError(f"{tree}: was changed after its checkout; remove this folder to renew it")
    return tree


def _check_out(commit: str, top: Path, tree: Path) -> None:
    """Make `tree`, with the files of `top` at `commit`."""
    say(f"checking out {commit[:10]} in {tree}")
    _git(top, "archive", f"--output={os.devnull}", commit)  # has a partial clone fetch it all
    objects = top / _git(top, "rev-parse", "--git-path", "objects")
    _git(top, "init", "--quiet", "--template=", str(tree))
    (tree / ".git/objects/info").mkdir(exist_ok=True)
    (tree / ".git/objects/info/alternates").write_text(f"{objects}\n", encoding="utf-8")
    no_hooks = ("-c", f"core.hooksPath={os.devnull}")
    _git(tree, *no_hooks, "checkout", "--quiet", "--detach", commit)


def _is_checkout(tree: Path) -> bool:
    """Whether `tree` is a repository with its commit; not so once the user's has gone."""
    with suppress(InputError):
        _git(tree, "cat-file", "-e", "HEAD^{tree}")
        return (tree / ".git").is_dir()
    return False


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
            repository = _git(folder, "rev-parse", "--path-format=absolute", "--git-common-dir")
            _git(Path(repository), "worktree", "remove", "-f", "-f", str(folder))
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
