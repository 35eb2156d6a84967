"""Git revisions as sides of a comparison: of this package, or of the user's own repository.

A checkout is made for one comparison, and may be written into.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mnistbench.launch.git import check_out, commit_of, git, git_environment
from mnistbench.launch.runs import TrainSide
from mnistbench.launch.scripts import Script, ScriptSide
from mnistbench.launch.virtual_environments import python_for
from mnistbench.schema.errors import InputError
from mnistbench.schema.streams import say

Revisions = Sequence[tuple[str, str]]
"""Of each side anything that git takes for one commit (``main``, ``HEAD~3``, a hash), or ``.`` for
the working tree where it is, uncommitted changes and all; and what messages call the side."""


def train_sides(
    revisions: Revisions, *, arguments: tuple[str, ...], checkouts: Path
) -> list[TrainSide]:
    """Sides that run ``train`` with `arguments` by the package as it was at each of `revisions`.

    Args:
        revisions: of a repository of this package, in which this folder is.
        arguments: flags of ``train``.
        checkouts: an existing folder; each side's checkout is made in it.

    Raises:
        InputError: not a git checkout, no such revision, or no such package in it.
        RunFailedError: a revision's dependencies cannot be installed.
    """
    top, trees = _trees(revisions, checkouts, needs="mnistbench/train.py")
    return [
        TrainSide(
            name=name, arguments=arguments, python=python_for(tree, top=top), package_root=tree
        )
        for tree, (_, name) in zip(trees, revisions, strict=True)
    ]


def script_sides(revisions: Revisions, *, command: str, checkouts: Path) -> list[ScriptSide]:
    """Sides that run `command`, with ``{seed}``, in this folder as it was at each of `revisions`.

    All of them run in this process's environment: where a revision declares other dependencies,
    that is said.

    Raises:
        InputError: as `train_sides`, this folder is not in a revision, or `command` is none.
    """
    script = Script.parse(command, flag="command")
    here = git("rev-parse", "--show-prefix")
    top, trees = _trees(revisions, checkouts, needs=here)
    declared = [_declared(tree) for tree in trees]
    if other := sorted({name for one in declared for name, _ in one ^ declared[0]}):
        say(f"{', '.join(other)}: not the same; each side runs with what is installed here")
    named = zip(trees, (name for _, name in revisions), strict=True)
    return [_script_side(name, script, here=here, trees=(top, tree)) for tree, name in named]


def _trees(revisions: Revisions, checkouts: Path, *, needs: str) -> tuple[Path, list[Path]]:
    """The working tree, and that of each side, which has to have the file or folder `needs`."""
    top, trees = Path(git("rev-parse", "--show-toplevel")), []
    for revision, name in revisions:
        trees.append(top if revision == "." else checkouts / name)
        if revision != ".":
            check_out(commit_of(revision, top), top, trees[-1])
        if not (trees[-1] / needs).exists():
            raise InputError(f"{revision!r}: has no {needs}; use a later revision")
    return top, trees


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
