"""What a comparison is: rows of one metric each, with their verdicts; and these as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mnistbench.analysis.metrics import Level, Metric
from mnistbench.analysis.number_text import NOT_MEASURED, goal
from mnistbench.analysis.samples import A_AND_B, Names, Sample
from mnistbench.schema.target import Target
from mnistbench.stats.rank_tests import Shift
from mnistbench.stats.sequential_test import look_factor

Verdict = Literal["faster", "slower", "higher", "lower", "no difference seen", "no verdict"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of one thing that both sides have.

    Attributes:
        name: what is compared, such as a recipe.
        metric: which figure of it.
        definition: what that figure is.
        names: what sentences call A and B.
        target: what a time to a target is the time to; none if A and B differ in that.
        a: what A says of it.
        b: what B says of it.
        sample: the values; none where only medians are stored.
        refusal: why there is no verdict, whatever the values.
        b_problem: why even the estimate of B alone tells nothing of B.
        caveat: what has to be said beside any verdict, as that the runs were not taken in turn.
        machine: what the machine alone may have changed of B's figures, as fractions.
        change: from A to B as a fraction of A, or as a difference; with its interval.
        p: the chance of such a difference between equals, corrected for repeated looks.
        p_adjusted: `p` by Holm (1979) over the rows of the table.
        verdict: what B is against A.
        reason: why there is no verdict.
        more_runs: how many more each side needs to see what is worth it.
        spread_known: if not, `more_runs` is the least that any test needs.
        gates: the gates on this row, and what each says of it.
    """

    name: str
    metric: str
    definition: Metric
    names: Names = A_AND_B
    target: Target | None = None
    a: Level
    b: Level
    sample: Sample | None = None
    refusal: str | None = None
    b_problem: str | None = None
    caveat: str | None = None
    machine: tuple[float, float] = (0.0, 0.0)
    change: Shift | None = None
    p: float | None = None
    p_adjusted: float | None = None
    verdict: Verdict = "no verdict"
    reason: str | None = None
    more_runs: int | None = None
    spread_known: bool = False
    gates: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Rows with their verdicts, and what has to be known with them.

    Attributes:
        rows: each metric of each thing and side.
        notes: what has to be said below the table.
        missing: what A has and B lacks, by the names of A and B.
        counted: what a value is one of.
        looked_at: was tested again and again while runs were added; ``None`` for figures that were
            there before.
        sides: names of all that was compared, the baseline first, where they are known.
        about: which is which, in a line.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    missing: Mapping[Names, tuple[str, ...]] = field(default_factory=dict)
    counted: Literal["seeds", "rounds"] = "seeds"
    looked_at: str | None = None
    sides: tuple[str, ...] = ()
    about: str = ""

    @property
    def look_factor(self) -> int:
        """What every p is multiplied by for the repeated looks; 1 without any."""
        return max(
            (look_factor(r.sample.n) for r in self.rows if r.metric == self.looked_at and r.sample),
            default=1,
        )


def label_text(row: Row) -> str:
    """What was measured: ``samples/s``, ``time to 97 %``."""
    metric, target = row.definition, row.target
    if not metric.to_target:
        return metric.label
    return f"{metric.label} to {goal(target)}"


def value_text(level: Level, metric: Metric) -> str:
    """An estimate with its unit, and how many values it is of, or how many got there."""
    if not level.n:
        return NOT_MEASURED
    number = f"{level.reached} of {level.n}" if metric.to_target else f"n = {level.n}"
    if level.value is None:
        return f"not reached ({number})"
    if level.above == 0 and level.at_most is not None:
        return f"≤ {metric.show(level.at_most)}{metric.unit} ({number})"
    return f"{metric.show(level.value)}{metric.unit} ({number})"


def verdict_text(row: Row) -> str:
    """The verdict, of figures other than accuracies with which way is better."""
    return row.definition.with_sense(row.verdict)


def change_text(row: Row, *, prefix: str = "95 % interval ") -> str:
    """The change from A to B with its interval: ``-5.1 % (95 % interval -6.0 to -4.2)``."""
    if row.change is None:
        return _unreached(row)
    return shift_text(row.change, row.definition, prefix=prefix)


def shift_text(change: Shift, metric: Metric, *, prefix: str = "95 % interval ") -> str:
    """A change of `metric` with its interval, where it has one; ∞ is an end without a bound."""
    estimate, low, high = (None if x is None else _signed(x, metric) for x in change)
    interval = f" ({prefix}{low or '-∞'} to {high or '∞'})" if low or high else ""
    return f"{estimate}{metric.change_unit}{interval}"


def number_text(row: Row, counted: str) -> str:
    """How many values were compared: ``n = 10 pairs``, ``n = 10 and 12 seeds``."""
    if row.sample is not None and row.sample.in_pairs:
        return f"n = {row.sample.n} pairs"
    if counted == "seeds":
        counted = f"{row.definition.independent}s"
    if row.a.n == row.b.n:
        return f"n = {row.a.n} each" if row.a.n == 1 else f"n = {row.a.n} {counted} each"
    return f"n = {row.a.n} and {row.b.n} {counted}"


def needed_text(row: Row) -> str:
    """How many more runs of each side it takes, where that was worked out."""
    if row.more_runs is None:
        return NOT_MEASURED
    if not row.spread_known:
        return f"at least {row.more_runs} more each" if row.more_runs else NOT_MEASURED
    size = row.definition.change_text(row.definition.worth_seeing)
    return f"{row.more_runs or 'no'} more each to see {size}"


def _unreached(row: Row) -> str:
    if row.a.value is not None and row.b.n and row.definition.to_target:
        return f"not reached by {row.names[1]}"
    if row.b.value is not None and row.a.n and row.definition.to_target:
        return f"not reached by {row.names[0]}"
    return NOT_MEASURED


def _signed(change: float, metric: Metric) -> str:
    if not math.isfinite(change):
        return NOT_MEASURED
    digits = ".1f" if metric.ratio else metric.digits
    return f"{(100 if metric.change_unit else 1) * change:+{digits}}"
