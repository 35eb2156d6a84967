"""A short name for each group of runs, by which tables and pictures of one page call it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mnistbench.analysis.grouping import differences, identify, run_name
from mnistbench.analysis.number_text import numbered
from mnistbench.schema.escaping import brief, printable
from mnistbench.schema.record import RunRecord

__all__ = ["row_names"]

_LONGEST = 60


def row_names(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """No two the same: the recipe or model and loss, then only what sets groups of one name apart.

    That is the settings that no column shows, then device and precision, then a number.
    """
    names = [printable(run_name(group[0])) for group in groups]
    for texts in (differences(groups), *_seen(groups)):
        told: dict[str, set[str]] = {}
        for name, text in zip(names, texts, strict=True):
            told.setdefault(name, set()).add(text)
        names = [
            brief(f"{name}, {_spoken(text)}", _LONGEST) if len(told[name]) > 1 and text else name
            for name, text in zip(names, texts, strict=True)
        ]
    return numbered(names)


def _seen(groups: Sequence[Sequence[RunRecord]]) -> list[list[str]]:
    """The device of each group, and its precision."""
    rows = [identify(group) for group in groups]
    return [[str(row["device"]) for row in rows], [str(row["precision"]) for row in rows]]


def _spoken(text: str) -> str:
    """Differences without Python's marks: ``profile torch+memory``, ``profile none``."""
    words = text.replace("global_batch_size", "batch").replace("[]", "none")
    return re.sub(r"[\[\]']", "", words.replace("', '", "+"))
