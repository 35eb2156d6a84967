"""Two sets of runs brought together: what belongs to what, and in which order they ran."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from mnistbench.analysis.differences import surroundings
from mnistbench.analysis.grouping import group_labels, group_runs, run_name
from mnistbench.analysis.number_text import numbered
from mnistbench.analysis.samples import Match, Order, Pair
from mnistbench.analysis.stability import without_profiled
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Phase, RunRecord
from mnistbench.schema.training_fields import SAME_RUN

__all__ = ["Matches", "as_one", "match_groups", "order_of"]

_OF_THE_RUN: tuple[Phase, ...] = ("build", "compile", "train", "eval", "checkpoint", "profile")
"""Phases that a run of one seed spends on itself, after it is said to have begun."""


class Matches(NamedTuple):
    """What belongs together, what only one side has, and lines on runs that count no further."""

    found: list[Match]
    only_in_a: list[str]
    only_in_b: list[str]
    notes: list[str]


def as_one(a: Sequence[RunRecord], b: Sequence[RunRecord]) -> Match:
    """All of `a` against all of `b`."""
    names = dict.fromkeys(run_name(record) for record in (*a[:1], *b[:1]))
    order, pairs = order_of(a, b)
    return Match(name=" / ".join(names), a=tuple(a), b=tuple(b), order=order, pairs=pairs)


def match_groups(a: Sequence[RunRecord], b: Sequence[RunRecord]) -> Matches:
    """The groups of `a` and `b` that belong together, and what is left out.

    Runs of one group may be of several commits, as a folder's are when one lands meanwhile. One
    group on each side is compared as it is. Several are matched by all that is known of them, then
    by their configuration, then by recipe, or model and loss, where that is unique. Profiled runs
    are left out.

    Raises:
        InputError: a side is empty, or all of it was profiled, or nothing belongs together.
    """
    if not a or not b:
        raise InputError("compare: no run in " + ("A" if not a else "B"))
    (a, told_a), (b, told_b) = (
        without_profiled(side, door="compare", of=f" of {name}")
        for name, side in zip("AB", (a, b), strict=True)
    )
    left, right = (group_runs(side, across_commits=True) for side in (a, b))
    notes = [*told_a, *told_b]
    if len(left) == len(right) == 1:
        return Matches([as_one(left[0], right[0])], [], [], notes)
    shared = set.intersection(*(set(record.config) for record in (*a, *b)))
    found = []
    for key in (_everything, _configuration, _name):
        pairs = _unique(left, right, partial(key, shared=shared))
        found += [as_one(group, other) for group, other in pairs]
        taken = {id(group) for pair in pairs for group in pair}
        left, right = ([g for g in side if id(g) not in taken] for side in (left, right))
    if not found:
        raise InputError(
            f"compare: A ({', '.join(_labels(left))}) and B ({', '.join(_labels(right))}) have "
            "nothing in common; name runs of one recipe, or of one configuration each"
        )
    names = numbered(match.name for match in found)
    found = [replace(match, name=name) for match, name in zip(found, names, strict=True)]
    return Matches(found, _labels(left), _labels(right), notes)


def order_of(a: Sequence[RunRecord], b: Sequence[RunRecord]) -> tuple[Order, tuple[Pair, ...]]:
    """In which order the runs were taken, and the pairs, A's run first, if it is fair to both.

    In turn: none began before the one before it had ended, each two that follow one another are one
    of each side, and each side goes first as often as the other, to within one. Where one side goes
    first each time a steady drift of the machine is taken for a difference: no pairs.
    """
    runs = [(_began(record), side, record) for side, of_it in enumerate((a, b)) for record in of_it]
    began = [(time, side, record) for time, side, record in runs if time]
    if len({time for time, _, _ in began}) < len(runs):
        return "unknown", ()
    began.sort(key=lambda run: run[0])
    if any(start + _length(run) > after for (start, _, run), (after, _, _) in pairwise(began)):
        return "at the same time", ()
    order = [(side, record) for _, side, record in began]
    twos = [dict(two) for two in zip(order[::2], order[1::2], strict=False)]
    if len(a) != len(b) or len(a) < 2 or any(len(two) < 2 for two in twos):
        return "apart", ()
    lead = sum(1 - 2 * side for side, _ in order[::2])
    if abs(lead) > 1:
        return "A first" if lead > 0 else "B first", ()
    return "in turn", tuple((two[0], two[1]) for two in twos)


def _length(record: RunRecord) -> timedelta:
    return timedelta(seconds=sum(record.phases_s.get(phase, 0.0) for phase in _OF_THE_RUN))


def _labels(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """Their names, without letting a terminal obey what a record holds."""
    labels = group_labels(groups)
    return [label if label.isprintable() else repr(label) for label in labels]


def _unique(
    left: Sequence[list[RunRecord]],
    right: Sequence[list[RunRecord]],
    key: Callable[[RunRecord], str],
) -> list[tuple[list[RunRecord], list[RunRecord]]]:
    """Groups whose key no other of their side has, and one of the other side."""
    by_key: tuple[dict[str, list[list[RunRecord]]], ...] = ({}, {})
    for side, groups in zip(by_key, (left, right), strict=True):
        for group in groups:
            side.setdefault(key(group[0]), []).append(group)
    pairs = [(a, by_key[1].get(its, [])) for its, a in by_key[0].items()]
    return [(a[0], b[0]) for a, b in pairs if len(a) == len(b) == 1]


def _everything(record: RunRecord, *, shared: set[str]) -> str:
    around = json.dumps(surroundings(record), sort_keys=True, default=str)
    return _configuration(record, shared=shared) + around


def _configuration(record: RunRecord, *, shared: set[str]) -> str:
    values = {k: record.config[k] for k in shared if k not in SAME_RUN}
    return json.dumps(values, sort_keys=True, default=str)


def _name(record: RunRecord, *, shared: set[str]) -> str:  # noqa: ARG001 - as the others
    return run_name(record).rstrip("*")


def _began(record: RunRecord) -> datetime | None:
    try:
        time = datetime.fromisoformat(record.created_at)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
