"""When to stop adding runs: repeated looks at one metric with the error of a single test.

Look k is a test at level 0.05 / (k (k + 1)). These sum to 0.05, so that by Boole's inequality two
things that are the same are told apart by any of the looks in at most one comparison of twenty, and
the interval at that level is a repeated confidence interval (Jennison and Turnbull 1989).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

ALPHA = 0.05
"""The chance that things that are the same are told apart: by a table, or by all looks."""

_FIRST_LOOK = 8


def looks() -> Iterator[int]:
    """The pairs after which to look: 8, 11, 15, 20, 27, 36, 48 … each a third more."""
    n = _FIRST_LOOK
    while True:
        yield n
        n = -(-4 * n // 3)


def look_factor(n: int) -> int:
    """What a p after `n` pairs is multiplied by: k (k + 1) at the k-th look, or the one due next.

    The last is for runs that end between two looks because time is up.
    """
    k = 1 + sum(1 for _ in takewhile(lambda due: due < n, looks()))
    return k * (k + 1)


def is_due(n: int) -> bool:
    """Whether it is time to look after `n` pairs."""
    return n in takewhile(lambda due: due <= n, looks())
