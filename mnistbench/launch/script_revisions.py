"""A command of the user's own at revisions of their repository, as sides of a comparison.

A checkout is made for one comparison, in which the script may write what it likes. Each side runs
in the environment of this process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mnistbench.launch.git import check_out, commit_of, git, git_environment
from mnistbench.launch.scripts import Script, ScriptSide
from mnistbench.schema.errors import InputError
from mnistbench.schema.streams import say

__all__ = ["script_sides"]


def script_sides(
    revisions: Sequence[tuple[str, str]], *, command: str, checkouts: Path
) -> list[ScriptSide]:
    """Sides that run `command` in this folder as it was at each of `revisions`.

    All of them run in this process's environment: where a revision declares other dependencies,
    that is said.

    Args:
        revisions: of each side the revision, as of `mnistbench.launch.revisions.side_at`, and what
            messages call the side.
        command: what is run, with ``{seed}``.
        checkouts: an existing folder; each side's checkout is made in it.

    Raises:
        InputError: not a git checkout, no such revision, this folder is not in it, or `command` is
            none.
    """
    script = Script.parse(command, flag="command")
    top = Path(git(Path(), "rev-parse", "--show-toplevel"))
    here = git(Path(), "rev-parse", "--show-prefix")
    trees = []
    for revision, name in revisions:
        trees.append(top if revision == "." else checkouts / name)
        if revision != ".":
            check_out(commit_of(revision, top), top, trees[-1])
        if not (trees[-1] / here).is_dir():
            raise InputError(f"{revision!r}: has no folder {here} to run in; use a later revision")
    declared = [_declared(tree) for tree in trees]
    if other := sorted({name for one in declared for name, _ in one ^ declared[0]}):
        say(f"{', '.join(other)}: not the same; each side runs with what is installed here")
    named = zip(trees, (name for _, name in revisions), strict=True)
    return [_script_side(name, script, here=here, trees=(top, tree)) for tree, name in named]


def _declared(root: Path) -> set[tuple[str, bytes]]:
    """Files that declare dependencies, and what is in them."""
    kinds = ("pyproject.toml", "requirements*.txt", "setup.*", "uv.lock", "environment.y*ml")
    return {(path.name, path.read_bytes()) for kind in kinds for path in root.glob(kind)}


def _script_side(name: str, script: Script, *, here: str, trees: tuple[Path, Path]) -> ScriptSide:
    """The side in the folder `here` of the second of `trees`; the first is the working tree.

    What the command and PYTHONPATH name in the working tree by whole paths is taken from there
    only where the other tree has no such file, as of data and ``.venv`` that git ignores. Packages
    in the top folder or its ``src`` come before installed ones.
    """
    top, tree = trees
    program, *others = script.words
    if "/" in program and not (tree / here / program).exists() and Path(program).exists():
        program = str(Path(program).absolute())
    words = [_moved(word, top, tree) for word in (program, *others)]
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    packages = [str(root) for root in (tree / "src", tree) if any(root.glob("*/__init__.py"))]
    path = os.pathsep.join(filter(None, [*packages, *(_moved(x, top, tree) for x in given)]))
    environment = git_environment() | ({"PYTHONPATH": path} if path else {})
    return ScriptSide(
        name=name, script=Script(tuple(words)), work_dir=tree / here, environment=environment
    )


def _moved(path: str, top: Path, tree: Path) -> str:
    """`path` in `tree`, where it is one in `top` that is in `tree` as well."""
    if not Path(path).is_relative_to(top):
        return path
    moved = tree / Path(path).relative_to(top)
    return str(moved) if moved.exists() else path
