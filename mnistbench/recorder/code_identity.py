"""Which code runs: commit of its checkout, a hash of what is not committed, versions below it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import stat
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from threading import Timer

from mnistbench.schema.record import Fact

_PACKAGES = ("mnistbench", "torch", "torchvision", "accelerate", "numpy")
_ROOT = Path(__file__).resolve().parents[2]
_PACKAGE = "mnistbench"
_PATIENCE_S = 5.0
_MOST_BYTES = 20 * 2**20
_DIGITS = 12
_PLAIN_DIFF = (
    *("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--full-index"),
    *("--src-prefix=a/", "--dst-prefix=b/", "--diff-algorithm=myers", "--unified=3"),
)
"""What a user's own settings of git would make another text of."""


@cache
def running_code() -> tuple[dict[str, Fact], dict[str, Fact]]:
    """Versions of packages, and `code_identity`, as the first call in this process found them.

    That is for before they are imported: on disk they may change while a run trains.
    """
    python = platform.python_version()
    return {"python": python, **{name: _version(name) for name in _PACKAGES}}, code_identity()


def code_identity(root: Path = _ROOT) -> dict[str, Fact]:
    """The commit, whether the package was changed on top of it, and a hash of these changes.

    `git_diff_sha256` is the first 12 digits of the SHA-256 of ``git diff HEAD`` of the package and
    of its files that are neither tracked nor ignored. It is ``None`` where nothing was changed, and
    where that cannot be told in 5 s and 20 MiB. Where git does not tell all, as of an installed
    package, `code_sha256` is of the files of the package. Nothing here raises.
    """
    in_git = (root / ".git").exists()
    commit = _git(root, "rev-parse", "HEAD") if in_git else None
    status = _git(root, "status", "--porcelain", "--", _PACKAGE) if in_git else None
    changes = _changes(root) if status and status.strip() else None
    paths = (p for p in (root / _PACKAGE).rglob("*") if "__pycache__" not in p.parts)
    files = (os.fsencode(path.relative_to(root)) for path in paths)
    told = commit is not None and status is not None and bool(changes) == bool(status.strip())
    return {
        "git_commit": None if commit is None else commit.decode().strip(),
        "git_dirty": None if status is None else bool(status.strip()),
        "git_diff_sha256": changes,
        "code_sha256": None if told else _hash(root, files),
    }


def script_revision(script: Path | None) -> dict[str, Fact]:
    """`code_identity` of the repository that tracks `script`, the user's; else all ``None``.

    What is not tracked there, such as results, makes no other code: `script` is hashed by itself.
    """
    told: dict[str, Fact] = dict.fromkeys(
        ("git_commit", "git_dirty", "git_diff_sha256", "code_sha256")
    )
    if script is None or not _git(script.parent, "ls-files", "--error-unmatch", "--", script.name):
        return told
    commit = _git(script.parent, "rev-parse", "HEAD")
    diff = _git(script.parent, "diff", *_PLAIN_DIFF, "HEAD") if commit else None
    if commit is None or diff is None:
        return told
    changes = hashlib.sha256(diff).hexdigest()[:_DIGITS] if diff else None
    commit_id = commit.decode().strip()
    return told | {"git_commit": commit_id, "git_dirty": bool(diff), "git_diff_sha256": changes}


def versions_of(packages: Mapping[str, str]) -> dict[str, Fact]:
    """Versions of Python, of this package, and of those `packages` that are loaded.

    `packages` are distributions by the names of their modules.
    """
    loaded = ["mnistbench", *(its for module, its in packages.items() if module in sys.modules)]
    return {"python": platform.python_version(), **{name: _version(name) for name in loaded}}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _changes(root: Path) -> str | None:
    """The hash of all that `root` has on top of its commit."""
    diff = _git(root, "diff", *_PLAIN_DIFF, "HEAD", "--", _PACKAGE)
    names = _git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", _PACKAGE)
    if diff is None or names is None:
        return None
    return _hash(root, filter(None, names.split(b"\0")), beside=diff)


def _hash(root: Path, names: Iterable[bytes], *, beside: bytes = b"") -> str | None:
    """The hash of files of `root`, names and contents, and of what is told `beside` them."""
    told, left, names = hashlib.sha256(beside), _MOST_BYTES - len(beside), sorted(names)
    for name in names:
        try:
            content = _content(root / os.fsdecode(name), most=left)
        except OSError:  # gone since it was named, or not ours to read
            return None
        left -= len(content)
        if left < 0:
            return None
        told.update(b"\0%s\0%d\0" % (name, len(content)) + content)
    return told.hexdigest()[:_DIGITS] if names or beside else None


def _content(path: Path, *, most: int) -> bytes:
    """The bytes of a file, one more than `most` at most; where a link leads; of others nothing."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return os.fsencode(path.readlink())
    if not stat.S_ISREG(mode):
        return b""
    with path.open("rb") as file:
        return file.read(most + 1)


def _git(root: Path, *arguments: str) -> bytes | None:
    """What git says; ``None`` without git or a commit, after `_PATIENCE_S`, or where it is long."""
    command = ("git", "-C", str(root), *arguments)
    quiet = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    try:
        with subprocess.Popen(  # noqa: S603 - fixed arguments
            command, env=quiet, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as git:
            timer = Timer(_PATIENCE_S, git.kill)
            timer.start()
            try:
                said = git.stdout.read(_MOST_BYTES + 1) if git.stdout else b""
                if len(said) > _MOST_BYTES:
                    git.kill()
                git.wait()
            finally:
                timer.cancel()
    except (OSError, subprocess.SubprocessError):
        return None
    return said if git.returncode == 0 else None
