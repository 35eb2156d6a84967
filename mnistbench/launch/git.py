"""The user's git: what it says of a repository, and a checkout of one that leaves it as it is.

A checkout is a repository of its own, which reads the objects of the user's where they lie: in the
user's, nothing is registered or written.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from mnistbench.schema.errors import InputError
from mnistbench.schema.streams import say

_OVERRIDES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")
"""What git sets for its hooks; with these it would not look at the folder it is pointed to."""


def git_environment() -> dict[str, str]:
    """This environment, for a git that looks at the folder it is pointed to."""
    return {k: v for k, v in os.environ.items() if k not in _OVERRIDES}


def git(*arguments: str, folder: Path = Path()) -> str:
    """What ``git`` run in `folder` prints; its complaint as an `InputError`."""
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - the user's git
            env=git_environment(),
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


def commit_of(revision: str, top: Path) -> str:
    """The full hash of the commit that `revision` names."""
    unknown = f"{revision!r}: names no commit in {top}; see git log, or git fetch"
    if not revision or revision.startswith("-"):
        raise InputError(unknown)
    try:
        return git("rev-parse", "--quiet", "--verify", f"{revision}^{{commit}}", folder=top)
    except InputError:
        raise InputError(unknown) from None


def check_out(commit: str, top: Path, tree: Path) -> None:
    """Make `tree`, with the files of `top` at `commit`."""
    say(f"checking out {commit[:10]} in {tree}")
    git("archive", f"--output={os.devnull}", commit, folder=top)  # has a partial clone fetch it all
    objects = top / git("rev-parse", "--git-path", "objects", folder=top)
    git("init", "--quiet", "--template=", str(tree))
    (tree / ".git/objects/info").mkdir(exist_ok=True)
    (tree / ".git/objects/info/alternates").write_text(f"{objects}\n", encoding="utf-8")
    no_hooks = ("-c", f"core.hooksPath={os.devnull}")
    git(*no_hooks, "checkout", "--quiet", "--detach", commit, folder=tree)
