"""Conditions under which a comparison fails, for CI: ``samples_per_s < -5%``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from mnistbench.analysis.comparison import Comparison, Row
from mnistbench.analysis.comparison_text import change_text, value_text
from mnistbench.analysis.metrics import METRICS, MetricName
from mnistbench.schema.errors import InputError
from mnistbench.stats.rank_tests import holm
from mnistbench.stats.sequential_test import ALPHA

__all__ = ["Gate", "Outcome", "judge", "parse_gate"]

_RELATIONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_GRAMMAR = re.compile(
    r"\s*(?P<metric>[a-z0-9_]+)\s*(?P<relation><=|>=|<|>)"
    r"\s*(?P<number>[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?)\s*(?P<percent>%?)\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Gate:
    """`relative`: on the change of B against A, as a fraction; else on the median of B."""

    text: str
    metric: MetricName
    relation: str
    threshold: float
    relative: bool

    def beyond(self, value: float) -> bool:
        """Whether `value` is what the gate is there to stop."""
        return _RELATIONS[self.relation](value, self.threshold)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a gate said of one row: `why` in one line, `value` what it looked at, if known."""

    gate: Gate
    name: str
    state: Literal["fired", "passed", "not settled", "cannot be judged"]
    why: str
    value: float | None = None
    p_adjusted: float | None = None


def parse_gate(text: str) -> Gate:
    """Read ``METRIC < NUMBER`` or ``METRIC < NUMBER%``; the signs are < > <= >=.

    With % the number is the change of B against A, of accuracies in percentage points; without, it
    is the median of B in the metric's own unit, of accuracies a fraction.

    Raises:
        InputError: another grammar, an unknown metric, or a threshold that no value can meet.
    """
    found = _GRAMMAR.fullmatch(text)
    if found is None:
        raise InputError(
            f'fail_if: {text!r} is no gate; write METRIC < NUMBER or "samples_per_s < -5%"'
        )
    name, number = found["metric"].lower(), float(found["number"])
    if name not in METRICS:
        raise InputError(f"fail_if: unknown metric {name!r}; use one of {', '.join(METRICS)}")
    relative = bool(found["percent"])
    metric = METRICS[cast("MetricName", name)]
    if not math.isfinite(number):
        raise InputError(f"fail_if: {text!r} has no finite number")
    if not relative and not metric.ratio and not 0 <= number <= 1:
        raise InputError(f"fail_if: {text!r}: an accuracy is a fraction from 0 to 1, such as 0.98")
    if relative and metric.ratio and number <= -100:
        raise InputError(f"fail_if: {text!r}: nothing falls by more than 100 %")
    return Gate(
        text=f"{name} {found['relation']} {found['number']}{found['percent']}",
        metric=cast("MetricName", name),
        relation=found["relation"],
        threshold=number / 100 if relative else number,
        relative=relative,
    )


def judge(comparison: Comparison, gates: Sequence[Gate]) -> list[Outcome]:
    """What each of `gates` says of each row of its metric, and of what B lacks.

    A relative gate fires if the change is beyond its threshold and is no chance: the difference is
    significant at 5 %, adjusted by Holm (1979) over the gates. Where no change at all would be
    beyond it already, as in ``< 5%``, it is the difference to the threshold that has to be. With
    fewer runs than even a single test needs, the estimate decides alone; not so where runs are
    added until it is settled.
    """
    asked = [(gate, row) for gate in gates for row in comparison.rows if row.metric == gate.metric]
    tested = [index for index, (gate, row) in enumerate(asked) if gate.relative and _known(row)]
    p_values = [_p_value(*asked[index], comparison.look_factor) for index in tested]
    adjusted = dict(zip(tested, holm(p_values), strict=True))
    alpha = ALPHA / comparison.look_factor / max(len(tested), 1)
    return [
        _relative(gate, row, adjusted.get(index), alpha=alpha, comparison=comparison)
        if gate.relative
        else _absolute(gate, row)
        for index, (gate, row) in enumerate(asked)
    ] + [_lacking(gate, comparison.missing) for gate in gates if comparison.missing]


def _lacking(gate: Gate, missing: Sequence[str]) -> Outcome:
    why = "B lacks what A has: run it, leave it out of A, or use --force"
    return Outcome(gate=gate, name=", ".join(missing), state="cannot be judged", why=why)


def _known(row: Row) -> bool:
    """Whether there are values to test, and leave to test them."""
    return row.p is not None


def _p_value(gate: Gate, row: Row, look_factor: int) -> float:
    """The chance of the difference, or of that to a threshold on the far side of no change."""
    sample = row.sample
    if gate.beyond(0.0) and gate.threshold and sample is not None:
        return min(1.0, look_factor * sample.moved(gate.threshold).p_value())
    return 1.0 if row.p is None else row.p


def _change(row: Row) -> float | None:
    """The estimated change; endless where A reached the target and B did not."""
    if row.change is not None:
        return row.change.estimate
    if row.a.median is None:
        return None if row.b.median is None or row.sample is None else -1.0
    return math.inf if row.sample is not None and row.b.median is None else None


def _relative(
    gate: Gate, row: Row, p_adjusted: float | None, *, alpha: float, comparison: Comparison
) -> Outcome:
    sample, change = row.sample, _change(row)
    if sample is None or p_adjusted is None or change is None:
        why = row.reason or "reached by neither side"
        return Outcome(gate=gate, name=row.name, state="cannot be judged", why=why)
    state: Literal["fired", "passed", "not settled"] = "passed"
    if gate.beyond(change):
        state = "fired" if p_adjusted < ALPHA else "not settled"
    why = f"{change_text(row)}, n = {sample.n}"
    lacking = sample.lacking(ALPHA)
    if lacking and comparison.looked_at is None:
        state = "fired" if gate.beyond(change) else "passed"
        why += f": too few for a test, the estimate decides ({lacking} more needed)"
    else:
        why += f", p = {p_adjusted:.2g}"
    if state == "not settled":
        needed = sample.runs_needed(alpha, change=gate.threshold or change)
        more = max(1, sample.lacking(alpha), (needed or 0) - sample.n)
        least = "" if needed else "at least "
        why += f"; not beyond chance: {least}{more} more {comparison.counted} on each side "
        why += "would settle it"
    return Outcome(
        gate=gate, name=row.name, state=state, why=why, value=change, p_adjusted=p_adjusted
    )


def _absolute(gate: Gate, row: Row) -> Outcome:
    metric = METRICS[row.metric]
    missed = row.b.n > 0 and metric.to_target and row.b.median is None
    value = math.inf if missed else row.b.median
    if row.b_problem or value is None:
        unknown = "no target accuracy in B" if metric.to_target else "not measured in B"
        why = row.b_problem or unknown
        return Outcome(gate=gate, name=row.name, state="cannot be judged", why=why)
    return Outcome(
        gate=gate,
        name=row.name,
        state="fired" if gate.beyond(value) else "passed",
        why=f"B {value_text(row.b, metric)}",
        value=value,
    )
