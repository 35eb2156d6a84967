"""Two sets of runs brought together: what belongs to what, and how they differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeAlias

from mnistbench.analysis.cells import NOT_MEASURED
from mnistbench.analysis.groups import group_labels, group_runs, run_name
from mnistbench.analysis.metrics import Metric
from mnistbench.analysis.samples import Sample
from mnistbench.analysis.stability import DRIFT_BOUND, is_unstable, level_difference
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord

__all__ = [
    "Match",
    "as_one",
    "conditions",
    "in_turn",
    "machine_problem",
    "match_groups",
    "sample_of",
    "subject",
]

_OUTCOME = ("seed", "output_dir", "data_dir", "require_target")
"""Configuration values that change nothing about how a run goes."""

_SAME_RUN = (*_OUTCOME, "num_seeds", "eval_batch_size")

_HARDWARE = ("device_type", "device_name", "cpu_name", "num_processes", "num_threads")
_SOFTWARE = (
    *("mixed_precision", "launcher", "driver", "cuda", "cudnn"),
    *("git_commit", "git_dirty"),
)

_MOST_SHOWN = 60

_Reader: TypeAlias = Callable[[RunRecord], Any]


def _configured(name: str) -> _Reader:
    return lambda record: record.config.get(name)


def _found(name: str) -> _Reader:
    return lambda record: record.environment.get(name)


def _version(name: str) -> _Reader:
    return lambda record: _versions(record).get(name)


def _commit(record: RunRecord) -> str | None:
    commit = record.environment.get("git_commit")
    return str(commit)[:10] if commit else None


_CONDITIONS: Mapping[str, _Reader] = {
    "dataset": lambda record: record.dataset and record.dataset.name,
    "data sha256": lambda record: record.dataset and record.dataset.sha256[:12],
    "num_train": lambda record: record.dataset and record.dataset.num_train,
    "eval_split": _configured("eval_split"),
    "target_accuracy": _configured("target_accuracy"),
    "global_batch_size": _found("global_batch_size"),
    **{name: _found(name) for name in _HARDWARE},
}
"""What has to agree before figures may be compared."""

_ELSEWHERE = {*_OUTCOME, *_CONDITIONS, "per_device_batch_size", "mixed_precision"}
"""Configuration values that change nothing, or are known better as what they came to."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """The runs of A and those of B that they are compared with.

    `pairs` holds one run of each, A's first, where they were taken in turn; else nothing.
    """

    name: str
    a: tuple[RunRecord, ...]
    b: tuple[RunRecord, ...]
    pairs: tuple[tuple[RunRecord, RunRecord], ...]


def as_one(a: Sequence[RunRecord], b: Sequence[RunRecord]) -> Match:
    """All of `a` against all of `b`."""
    names = dict.fromkeys(run_name(record) for record in (*a[:1], *b[:1]))
    return Match(name=" / ".join(names), a=tuple(a), b=tuple(b), pairs=in_turn(a, b))


def match_groups(a: Sequence[RunRecord], b: Sequence[RunRecord]) -> tuple[list[Match], list[str]]:
    """The groups of `a` and `b` that belong together, and lines on the runs that are left out.

    One group on each side is compared as it is. Several are matched by all that is known of them,
    then by their configuration, then by recipe, or model and loss, where that is unique.

    Raises:
        InputError: a side is empty, or nothing belongs together.
    """
    if not a or not b:
        raise InputError("compare: no run in " + ("A" if not a else "B"))
    left, right = group_runs(a), group_runs(b)
    notes = [*_repeats("A", a, left), *_repeats("B", b, right)]
    if len(left) == len(right) == 1:
        return [as_one(left[0], right[0])], notes
    shared = set.intersection(*(set(record.config) for record in (*a, *b)))
    found = []
    for key in (_everything, _configuration, _name):
        for group, other in _unique(left, right, partial(key, shared=shared)):
            found.append(as_one(group, other))
            left.remove(group)
            right.remove(other)
    if not found:
        raise InputError(
            f"compare: A ({_labels(left)}) and B ({_labels(right)}) have nothing in common; name "
            "runs of one recipe, or of one configuration each"
        )
    for side, rest in (("A", left), ("B", right)):
        notes += [f"only in {side}: {_labels(rest)}"] if rest else []
    return _numbered(found), notes


def in_turn(
    a: Sequence[RunRecord], b: Sequence[RunRecord]
) -> tuple[tuple[RunRecord, RunRecord], ...]:
    """The pairs of runs, A's first, if there are two or more and they were taken in turn.

    That is if, by the times they began, each two that follow one another are one of each side.
    """
    if len(a) != len(b) or len(a) < 2:
        return ()
    began = [(_began(record), side, record) for side, runs in enumerate((a, b)) for record in runs]
    times = {time for time, _, _ in began}
    if None in times or len(times) < len(began):
        return ()
    order = [(side, record) for _, side, record in sorted(began, key=lambda x: (x[0], x[1]))]
    twos = [dict(two) for two in zip(order[::2], order[1::2], strict=True)]
    return tuple((two[0], two[1]) for two in twos) if all(len(t) == 2 for t in twos) else ()


def sample_of(match: Match, metric: Metric, target_accuracy: float | None) -> Sample:
    """What the runs of `match` measured of `metric`; a pair that lacks one value is left out."""

    def read(runs: Sequence[RunRecord]) -> list[Any]:
        return [metric.read(record, target_accuracy) for record in runs]

    if match.pairs:
        both = [two for two in map(tuple, map(read, match.pairs)) if None not in two]
        return Sample(
            metric=metric, a=tuple(x for x, _ in both), b=tuple(y for _, y in both), paired=True
        )
    a, b = (tuple(x for x in read(runs) if x is not None) for runs in (match.a, match.b))
    return Sample(metric=metric, a=a, b=b, paired=False)


def conditions(match: Match, target_accuracy: float | None) -> dict[str, str]:
    """What should agree and does not: name -> ``A's against B's``.

    Recorded targets do not matter where all are scored by `target_accuracy`, unless a run stopped
    at its own.
    """
    runs = (*match.a, *match.b)
    stopped = any(record.config.get("stop_at_target") for record in runs)
    free = {"target_accuracy"} if target_accuracy is not None and not stopped else set()
    found = {name: _values(match, read) for name, read in _CONDITIONS.items() if name not in free}
    return {name: f"{_brief(a)} against {_brief(b)}" for name, (a, b) in found.items() if a != b}


def subject(match: Match) -> dict[str, str]:
    """What B differs in beyond that, which is the comparison's subject: name -> ``B's for A's``."""
    runs = (*match.a, *match.b)
    names = dict.fromkeys(key for record in runs for key in record.config)
    readers = {name: _configured(name) for name in names if name not in _ELSEWHERE}
    readers |= {name: _found(name) for name in _SOFTWARE} | {"git_commit": _commit}
    readers |= {name: _version(name) for record in runs for name in _versions(record)}
    found = {name: _values(match, read) for name, read in readers.items()}
    return {name: f"{_brief(b)} instead of {_brief(a)}" for name, (a, b) in found.items() if a != b}


def machine_problem(match: Match) -> str | None:
    """Why the machine itself forbids to compare times, if it does.

    Its speed moved during most runs of a side, or was another for B than for A and the runs were
    not taken in turn, which alone would be fair to both.
    """
    for side, runs in (("A", match.a), ("B", match.b)):
        unstable = sum(map(is_unstable, runs))
        if 2 * unstable > len(runs):
            return f"the machine's own speed moved during {unstable} of {len(runs)} runs of {side}"
    change = None if match.pairs else level_difference(match.a, match.b)
    if change is None or abs(change) <= DRIFT_BOUND:
        return None
    word = "faster" if change > 0 else "slower"
    return f"the machine itself was {100 * abs(change):.0f} % {word} during B than during A"


def _repeats(
    side: str, runs: Sequence[RunRecord], groups: Sequence[Sequence[RunRecord]]
) -> list[str]:
    number = len(runs) - sum(map(len, groups))
    return [f"{side}: {number} repeated runs of a seed are left out; it counts once"] * (number > 0)


def _labels(groups: Sequence[Sequence[RunRecord]]) -> str:
    """Their names, without letting a terminal obey what a record holds."""
    labels = group_labels(groups)
    return ", ".join(label if label.isprintable() else repr(label) for label in labels)


def _numbered(matches: Sequence[Match]) -> list[Match]:
    """The same, told apart by their names."""
    names = [match.name for match in matches]
    return [
        match
        if names.count(match.name) == 1
        else replace(match, name=f"{match.name} #{names[: index + 1].count(match.name)}")
        for index, match in enumerate(matches)
    ]


def _unique(
    left: Sequence[list[RunRecord]],
    right: Sequence[list[RunRecord]],
    key: Callable[[RunRecord], str],
) -> Iterator[tuple[list[RunRecord], list[RunRecord]]]:
    """Groups whose key no other of their side has, and one of the other side."""
    keys_a, keys_b = ([key(group[0]) for group in side] for side in (left, right))
    yield from [
        (group, right[keys_b.index(its)])
        for group, its in zip(left, keys_a, strict=True)
        if keys_a.count(its) == keys_b.count(its) == 1
    ]


def _everything(record: RunRecord, *, shared: set[str]) -> str:
    known = {name: read(record) for name, read in _CONDITIONS.items()} | {
        name: record.environment.get(name) for name in (*_SOFTWARE, "versions")
    }
    return _configuration(record, shared=shared) + json.dumps(known, sort_keys=True, default=str)


def _configuration(record: RunRecord, *, shared: set[str]) -> str:
    values = {k: record.config[k] for k in shared if k not in _SAME_RUN}
    return json.dumps(values, sort_keys=True, default=str)


def _name(record: RunRecord, *, shared: set[str]) -> str:  # noqa: ARG001 - as the others
    return run_name(record).rstrip("*")


def _values(match: Match, read: Callable[[RunRecord], Any]) -> tuple[str, str]:
    """All that the runs of A, and those of B, have there, as text."""

    def text(runs: Sequence[RunRecord]) -> str:
        known = {str(value) for value in map(read, runs) if value is not None}
        return ", ".join(sorted(known)) or NOT_MEASURED

    return text(match.a), text(match.b)


def _brief(text: str) -> str:
    """A hash or the like by its beginning, which tells it apart from another."""
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…"


def _versions(record: RunRecord) -> Mapping[str, Any]:
    versions = record.environment.get("versions")
    return versions if isinstance(versions, dict) else {}


def _began(record: RunRecord) -> datetime | None:
    try:
        time = datetime.fromisoformat(record.created_at)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
