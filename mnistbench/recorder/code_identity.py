"""Which code runs: the commit of its checkout and, of what is not committed, a hash."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from pathlib import Path
from threading import Timer
from typing import Any

__all__ = ["code_identity"]

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


def code_identity(root: Path = _ROOT) -> dict[str, Any]:
    """The commit, whether the package was changed on top of it, and a hash of these changes.

    `git_diff_sha256` is the first 12 digits of the SHA-256 of ``git diff HEAD`` of the package and
    of its files that are neither tracked nor ignored, names and contents: the same for the same
    code. It is ``None`` where nothing was changed, and where that cannot be told: git does not
    answer within 5 s, or the changes are larger than 20 MiB. All are ``None`` of an installed
    package. Nothing here raises, and git writes nothing.
    """
    if not (root / ".git").exists():
        return dict.fromkeys(("git_commit", "git_dirty", "git_diff_sha256"))
    commit = _git(root, "rev-parse", "HEAD")
    status = _git(root, "status", "--porcelain", "--", _PACKAGE)
    return {
        "git_commit": None if commit is None else commit.decode().strip(),
        "git_dirty": None if status is None else bool(status.strip()),
        "git_diff_sha256": _changes(root) if status and status.strip() else None,
    }


def _changes(root: Path) -> str | None:
    """The hash of all that `root` has on top of its commit."""
    diff = _git(root, "diff", *_PLAIN_DIFF, "HEAD", "--", _PACKAGE)
    names = _git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", _PACKAGE)
    if diff is None or names is None or not diff + names:
        return None
    told, left = hashlib.sha256(diff), _MOST_BYTES - len(diff)
    for name in sorted(filter(None, names.split(b"\0"))):
        try:
            content = _content(root / os.fsdecode(name), most=left)
        except OSError:  # gone since git named it, or not ours to read
            return None
        left -= len(content)
        if left < 0:
            return None
        told.update(b"\0%s\0%d\0" % (name, len(content)) + content)
    return told.hexdigest()[:_DIGITS]


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
