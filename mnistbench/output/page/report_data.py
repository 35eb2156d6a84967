"""What a page is about: records in groups, named, and how they are to be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from mnistbench.analysis.differences import values_of
from mnistbench.analysis.free_metrics import scored_at
from mnistbench.analysis.grouping import group_runs
from mnistbench.analysis.metrics import Asked
from mnistbench.analysis.stability import is_profiled
from mnistbench.analysis.standing import order
from mnistbench.output.row_names import row_names
from mnistbench.schema.record import RunRecord, Target
from mnistbench.schema.reference import ReferenceCurve


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """How records are to be read.

    Attributes:
        targets: accuracies to score at, as fractions; none are the runs' own.
        references: curves that runs are held to.
        scaling_fit_on: process counts to fit the model of scaling on; none is by default.
        scaling_target: the accuracy that scaling is read at; none is the runs' own.
        left_out: one sentence on records that could not be read; empty where all could.
    """

    targets: Sequence[float] = ()
    references: Sequence[ReferenceCurve] = ()
    scaling_fit_on: tuple[int, ...] = ()
    scaling_target: float | None = None
    left_out: str = ""


class ReportRow(NamedTuple):
    """Runs that differ in nothing but their seed, by the name that the page calls them."""

    name: str
    runs: Sequence[RunRecord]


def by_conditions(rows: Sequence[ReportRow], needs: Sequence[str]) -> list[list[ReportRow]]:
    """`rows` by all that they must agree in to be compared; the largest set first."""
    sets: dict[tuple[str, ...], list[ReportRow]] = {}
    for row in rows:
        key = tuple(", ".join(sorted(values_of(row.runs, name))) for name in needs)
        sets.setdefault(key, []).append(row)
    return sorted(sets.values(), key=len, reverse=True)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The records of a page, and all that several sections ask of them.

    Where there is an `only`, these rows are shown of more.
    """

    records: Sequence[RunRecord]
    options: ReportOptions
    only: Sequence[ReportRow] = ()

    @cached_property
    def rows(self) -> list[ReportRow]:
        """A row for each group, in order of first appearance."""
        if self.only:
            return list(self.only)
        groups = group_runs(self.records)
        return [ReportRow(*row) for row in zip(row_names(groups), groups, strict=True)]

    def best(self, most: int) -> Subject:
        """At most so many rows: the fastest to the first target, then the most accurate."""
        if len(self.rows) <= most:
            return self
        places = list(range(len(self.rows)))
        by: list[tuple[str, Asked]] = [("val_accuracy", None)]
        by += [("time_to_accuracy_s", target) for target in [*self.scored][:1]]
        for name, target in by:
            ranked = order([self.rows[place].runs for place in places], name, target)
            places = list(dict.fromkeys([*(places[rank] for rank in ranked), *places]))
        return replace(self, only=[self.rows[place] for place in sorted(places[:most])])

    @cached_property
    def places(self) -> dict[str, int]:
        """Each row's place among `rows`, which gives it one colour in all pictures."""
        return {row.name: place for place, row in enumerate(self.rows)}

    @cached_property
    def timed(self) -> list[ReportRow]:
        """Those whose times and speeds may be shown beside others': profiled runs are not."""
        return [row for row in self.rows if not any(map(is_profiled, row.runs))]

    def targets(self, row: ReportRow) -> list[Target | float]:
        """What `row` is scored at; when it was reached is another matter."""
        untimed = {"time_s": None, "steps": None}
        found = scored_at(row.runs, self.options.targets)
        return [t.model_copy(update=untimed) if isinstance(t, Target) else t for t in found]

    @cached_property
    def scored(self) -> dict[Target | float, list[ReportRow]]:
        """Each target, and the rows that are scored at it."""
        found: dict[Target | float, list[ReportRow]] = {}
        for row in self.timed:
            for target in self.targets(row):
                found.setdefault(target, []).append(row)
        return found
