"""Which of several configurations is the best by one metric, and which are surely behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mode
from typing import NamedTuple

from mnistbench.analysis.comparison import compare_matches
from mnistbench.analysis.free_metrics import metric_named
from mnistbench.analysis.metrics import Asked, Metric
from mnistbench.analysis.pairing import as_one
from mnistbench.analysis.repeats import num_lost
from mnistbench.schema.record import RunRecord

_MOST_TESTED = 50


class Standing(NamedTuple):
    """`best` and `near` are places among the groups; the rest of those that were tested is behind.

    `tested` counts the groups that the best was compared with: the next best, 50 at most.
    `reason` says why most of them got no verdict; empty if one got one.
    """

    best: int
    near: tuple[int, ...]
    tested: int
    reason: str = ""


def order(groups: Sequence[Sequence[RunRecord]], name: str, target: Asked = None) -> list[int]:
    """Places of `groups` that measured the metric, the best estimate first.

    Those that lost a run (diverged or failed) come after the others, as in a choice: what is left
    are survivors. Those of which less than half reached a target come last; there are none if no
    other did.
    """
    metric = _named(name, groups)
    levels = [metric.of(group, target) for group in groups]
    places = [place for place, level in enumerate(levels) if level.n]
    if all(levels[place].value is None for place in places):
        return []
    sign = -1 if metric.higher_is_better else 1

    def rank(place: int) -> tuple[bool, float]:
        value = levels[place].value
        lost = not metric.to_target and num_lost(groups[place]) > 0
        return lost, math.inf if value is None else sign * value

    return sorted(places, key=rank)


def standing(
    groups: Sequence[Sequence[RunRecord]], name: str, target: Asked = None
) -> Standing | None:
    """The best of `groups`, and those that a comparison with it does not find to be worse.

    It is the comparison that `compare` makes, adjusted for all that are tested (Holm 1979).
    ``None`` where no group measured the metric.
    """
    places = order(groups, name, target)
    if not places:
        return None
    best, *others = places[: _MOST_TESTED + 1]
    if not others:
        return Standing(best, (), 0)
    matches = [as_one(groups[best], groups[other]) for other in others]
    rows = compare_matches(matches, metrics=(name,), target_accuracy=target).rows
    metric = _named(name, groups)
    worse = metric.word(-1 if metric.higher_is_better else 1)
    near = (place for place, row in zip(others, rows, strict=True) if row.verdict != worse)
    reasons = [row.reason or "" for row in rows if row.verdict == "no verdict"]
    reason = mode(reasons) if len(reasons) == len(rows) else ""
    return Standing(best, tuple(near), len(others), reason)


def _named(name: str, groups: Sequence[Sequence[RunRecord]]) -> Metric:
    return metric_named(name, [run for group in groups for run in group])
