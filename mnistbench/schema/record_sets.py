"""Named sets of records, the sides of a comparison: read from paths, each apart from the others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import RECORD_NAME, find_records, load_records

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RecordSet:
    """Records under a name, from a path if `source` tells one; `note` tells what was left out."""

    name: str
    records: Sequence[RunRecord]
    source: str = ""
    note: str = ""


def path_names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, or as many of its last parts as tell it from the others."""
    parts = [Path(os.path.abspath(path)).parts for path in paths]  # noqa: PTH100 - follows no link
    parts = [its[:-1] if its[-1] == RECORD_NAME else its for its in parts]
    names = {its: "/".join(its[-1:]) for its in parts}
    for length in range(2, max(map(len, parts)) + 1):
        told = [*names.values()]
        longer = {its: "/".join(its[-length:]) for its in parts}
        names = {its: longer[its] if told.count(x) > 1 else x for its, x in names.items()}
    return [names[its] for its in parts]


def require_apart(paths: Sequence[Path]) -> None:
    """Check, without reading them, that each of `paths` has records, and no other's.

    Raises:
        InputError: as `find_records`, or a record is in two of them.
    """
    owner: dict[str, Path] = {}
    for path in paths:
        for record in find_records([path]):
            first = owner.setdefault(os.path.realpath(record), path)
            if first is path:
                continue
            if os.path.realpath(first) == os.path.realpath(path):
                raise InputError(f"compare: {path} is named twice; name each side once")
            raise InputError(f"compare: {first} and {path} are not apart: both hold {record}")


def load_sets(paths: Sequence[Path], *, strict: bool = False) -> list[RecordSet]:
    """The records of each of `paths`, named by `path_names`.

    Raises:
        InputError: as `load_records`.
    """
    loaded = [load_records([path], strict=strict) for path in paths]
    return [
        RecordSet(name=name, records=its.records, source=str(path), note=its.note)
        for path, name, its in zip(paths, path_names(paths), loaded, strict=True)
    ]


def baseline_first(sides: Sequence[T], names: Sequence[Sequence[str]], baseline: str) -> list[T]:
    """`sides` with the one first of whose `names` one is `baseline`, or the path that it leads to.

    Raises:
        InputError: it is none of them; the message has the first name of each.
    """
    asked = {baseline, os.path.realpath(baseline)}
    for place, known in enumerate(names):
        if asked & {*known}:
            return [sides[place], *sides[:place], *sides[place + 1 :]]
    known_names = ", ".join(known[0] for known in names)
    raise InputError(f"baseline: {baseline} is none of the sides: {known_names}")
