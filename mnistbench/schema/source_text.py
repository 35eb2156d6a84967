"""What the text of a module says of it: nothing is imported or run."""

from __future__ import annotations

import ast
import functools
import warnings

_AT_RUN_TIME = {"*", "__getattr__", "globals", "locals", "vars", "exec", "setattr"}
"""What may define names that no text has."""


@functools.lru_cache(1000)
def imports_of(source: bytes) -> list[tuple[int, str]]:
    """What import statements name: how many packages up they begin, if in one, and what."""
    tree = _parsed(source)
    nodes = list(ast.walk(tree)) if tree else []
    plain = [(0, one.name) for node in nodes if isinstance(node, ast.Import) for one in node.names]
    return plain + [
        (node.level, f"{node.module}.{one.name}" if node.module else one.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for one in node.names
    ]


def names_of(source: bytes) -> set[str] | None:
    """The names that a module defines, its own submodules aside; None where only running it tells.

    A name that any statement outside functions and classes binds counts.
    """
    tree = _parsed(source)
    if tree is None:
        return None
    found, waiting = set[str](), list[ast.AST]([tree])
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
            continue
        if isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.Name):  # one that is read alone is no harm
            found.add(node.id)
        waiting += ast.iter_child_nodes(node)
    return None if found & _AT_RUN_TIME else found


def _parsed(source: bytes) -> ast.Module | None:
    """None where it is not Python: who imports it says so, and gives its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
