"""Names that several things have, told apart by numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

__all__ = ["numbered"]


def numbered(names: Iterable[str]) -> list[str]:
    """`names`, those that come more than once as ``name #1``, ``name #2`` in their order."""
    names = list(names)
    total, seen = Counter(names), Counter[str]()
    told = []
    for name in names:
        seen[name] += 1
        told.append(name if total[name] == 1 else f"{name} #{seen[name]}")
    return told
