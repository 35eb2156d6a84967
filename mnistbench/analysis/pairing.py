"""Two sets of runs brought together: what belongs to what, and in which order they ran."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from mnistbench.analysis.differences import settings_of, surroundings
from mnistbench.analysis.grouping import differences, group_runs, run_name
from mnistbench.analysis.metrics import SHARED_PHASES
from mnistbench.analysis.number_text import numbered
from mnistbench.analysis.samples import A_AND_B, Match, Names, Order, Pair
from mnistbench.analysis.stability import without_profiled
from mnistbench.schema.component import short_name
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord

_NOT_OF_THE_RUN = {*SHARED_PHASES, "other"}
"""Phases in which a run of one seed is not surely at work after it is said to have begun."""


class Matches(NamedTuple):
    """What belongs together, what only one side has, and lines on runs that count no further."""

    found: list[Match]
    only_in_a: list[str]
    only_in_b: list[str]
    notes: list[str]
    names: Names = A_AND_B


def side_labels(names: Sequence[str]) -> tuple[str, ...]:
    """What sentences and columns call sides: A and B if there are two, else their names."""
    return A_AND_B if len(names) == 2 else tuple(names)


def against_first(sides: Sequence[Sequence[RunRecord]], labels: Sequence[str]) -> list[Match]:
    """All runs of each side against all of the first."""
    (first, its_label), *others = zip(sides, labels, strict=True)
    return [as_one(first, side, names=(its_label, label)) for side, label in others]


def as_one(a: Sequence[RunRecord], b: Sequence[RunRecord], *, names: Names = A_AND_B) -> Match:
    """All of `a` against all of `b`; it is named by what the names of both have in common."""
    of_a, of_b = (list(dict.fromkeys(map(run_name, side[:1]))) for side in (a, b))
    shared = [part for part in _parts(of_a) if part in _parts(of_b)]
    name = ", ".join(shared) or " / ".join((*of_a, *of_b))
    order, pairs = order_of(a, b)
    return Match(name=name, a=tuple(a), b=tuple(b), order=order, pairs=pairs, names=names)


def match_groups(
    a: Sequence[RunRecord], b: Sequence[RunRecord], *, names: Names = A_AND_B, by: str | None = None
) -> Matches:
    """The groups of `a` and `b` that belong together, and what is left out.

    Runs of one group may be of several commits, as a folder's are when one lands meanwhile. One
    group on each side is compared as it is. Several are matched by all that is known of them, then
    by their configuration, then by recipe, or model and loss, where that is unique; the key `by`,
    in which the sides differ on purpose, is no part of it. Profiled runs are left out.

    Raises:
        InputError: a side is empty or all profiled; without `by`, nothing belongs together.
    """
    if not a or not b:
        raise InputError("compare: no run in " + names[0 if not a else 1])
    (a, told_a), (b, told_b) = (
        without_profiled(side, command="compare", of=f" of {name}")
        for name, side in zip(names, (a, b), strict=True)
    )
    left, right = (group_runs(side, across_commits=True) for side in (a, b))
    notes = [*told_a, *told_b]
    if len(left) == len(right) == 1:
        match = replace(as_one(left[0], right[0], names=names), by=by)
        return Matches([match], [], [], notes, names)
    called = dict(zip(map(id, left), _names(left, by), strict=True))
    called |= zip(map(id, right), _names(right, by), strict=True)
    shared = set.intersection(*(set(settings_of(record)) for record in (*a, *b)))
    shared = (shared | {"workload"}) - {by or ""}
    found: list[Match] = []
    keys: tuple[Callable[[RunRecord], str], ...] = (
        lambda record: _configuration(record, shared) + _around(record, by),
        lambda record: _configuration(record, shared),
        lambda record: _name(record, by).rstrip("*"),
    )
    for key in keys:
        pairs = _unique(left, right, key)
        matches = ((called[id(g)], as_one(g, other, names=names)) for g, other in pairs)
        found += [replace(match, name=name, by=by) for name, match in matches]
        taken = {id(group) for pair in pairs for group in pair}
        left, right = ([g for g in side if id(g) not in taken] for side in (left, right))
    only_a, only_b = ([called[id(group)] for group in side] for side in (left, right))
    if not found and by is None:
        raise InputError(
            f"compare: {names[0]} ({'; '.join(only_a)}) and {names[1]} ({'; '.join(only_b)}) have "
            f"nothing in common; {_mend((*a, *b))}"
        )
    return Matches(found, only_a, only_b, notes, names)


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
    own_s = (s for phase, s in record.phases_s.items() if phase not in _NOT_OF_THE_RUN)
    return timedelta(seconds=sum(own_s))


def _names(groups: Sequence[Sequence[RunRecord]], by: str | None) -> list[str]:
    """What tells the groups of one side apart, but for `by`: ``simple-cnn, lr 0.1``."""
    parts = [
        [part for part in (_name(group[0], by), differs) if part]
        for group, differs in zip(groups, differences(groups), strict=True)
    ]
    return numbered(", ".join(its) or "all runs" for its in parts)


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


def _around(record: RunRecord, by: str | None) -> str:
    around = {name: value for name, value in surroundings(record).items() if name != by}
    return json.dumps(around, sort_keys=True, default=str)


def _mend(runs: Sequence[RunRecord]) -> str:
    if any(run.is_foreign for run in runs):
        return "name runs of one configuration each, or in ignore= the keys that make no other one"
    return "name runs of one recipe, or of one configuration each"


def _configuration(record: RunRecord, shared: set[str]) -> str:
    known = {"workload": run_name(record)} if record.is_foreign else {}
    values = {k: v for k, v in (settings_of(record) | known).items() if k in shared}
    return json.dumps(values, sort_keys=True, default=str)


def _name(record: RunRecord, by: str | None) -> str:
    """What was run, but for the value of `by`."""
    if (by == "recipe" and record.recipe) or (by == "workload" and record.is_foreign):
        return ""
    value = str(settings_of(record).get(by)) if by else None
    left_out = value if value is None or record.is_foreign else short_name(value)
    return ", ".join(part for part in _parts([run_name(record)]) if part != left_out)


def _parts(names: Sequence[str]) -> list[str]:
    return [part for name in names for part in name.split(", ")]


def _began(record: RunRecord) -> datetime | None:
    try:
        time = datetime.fromisoformat(record.created_at)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
