"""Pictures with a line for each row: how many of these have one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["MOST_ROWS", "parts_of"]

T = TypeVar("T")

MOST_ROWS = 40
"""Rows of one picture; more go into a second one."""

_MOST_PICTURES = 2


def parts_of(rows: Sequence[T]) -> tuple[list[Sequence[T]], str]:
    """`rows` for a picture each, and what to say of those that there is no picture of."""
    starts = range(0, min(len(rows), _MOST_PICTURES * MOST_ROWS), MOST_ROWS)
    drawn = len(starts) * MOST_ROWS
    told = f" The first {drawn} of {len(rows)} rows." if len(rows) > drawn else ""
    return [rows[start : start + MOST_ROWS] for start in starts], told
