"""Conditions under which a comparison fails, for CI: ``samples_per_s < -5%``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

from mnistbench.analysis.free_metrics import canonical
from mnistbench.analysis.metrics import METRICS, Metric
from mnistbench.analysis.rows import Comparison, Row, change_text, value_text
from mnistbench.analysis.samples import Names, Sample
from mnistbench.schema.errors import InputError
from mnistbench.schema.suggestions import use_a_fraction
from mnistbench.stats.rank_tests import holm
from mnistbench.stats.sequential_test import ALPHA

_RELATIONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_GRAMMAR = re.compile(
    r"\s*(?P<metric>[A-Za-z0-9_][A-Za-z0-9._+:/@-]*)\s*(?P<relation><=|>=|<|>)"
    r"\s*(?P<number>[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?)\s*(?P<percent>%?)\s*",
    re.IGNORECASE,
)


_MOST_RUNS = 1000
_MOST_POINTS = 50
"""What no accuracy is asked to change by: a percentage that was meant as the accuracy itself."""

State: TypeAlias = Literal["fired", "passed", "not settled", "cannot be judged"]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """`relative`: on the change of B against A, as a fraction; else on the estimate of B."""

    text: str
    metric: str
    relation: str
    threshold: float
    relative: bool

    def beyond(self, value: float) -> bool:
        """Whether `value` is what the gate is there to stop."""
        return _RELATIONS[self.relation](value, self.threshold)


@dataclass(frozen=True)
class Outcome:
    """What a gate said of one row: `why` in one line, `value` what it looked at, if known.

    `name` is what was compared, `names` are those of its two sides.
    """

    gate: Gate
    name: str
    names: Names
    state: State
    why: str
    value: float | None = None
    p_adjusted: float | None = None


def parse_gate(text: str) -> Gate:
    """Read ``METRIC < NUMBER`` or ``METRIC < NUMBER%``; the signs are < > <= >=.

    With % the number is the change of B against A, of accuracies in percentage points; without, it
    is what B itself has, in the metric's own unit, of accuracies a fraction. What is no metric of
    the table is one that the runs evaluated, or refused by the comparison.

    Raises:
        InputError: another grammar, or a threshold that no value can meet.
    """
    found = _GRAMMAR.fullmatch(text)
    if found is None:
        raise InputError(
            f'fail_if: {text!r} is no gate; write METRIC < NUMBER or "samples_per_s < -5%"'
        )
    name, number, relative = canonical(found["metric"]), float(found["number"]), found["percent"]
    if not math.isfinite(number):
        raise InputError(f"fail_if: {text!r} has no finite number")
    if metric := METRICS.get("test_accuracy" if name == "accuracy" else name):
        said = f'"{name} {found["relation"]} '
        _check_threshold(metric, number, relative=bool(relative), text=text, said=said)
    return Gate(
        text=f"{name} {found['relation']} {found['number']}{found['percent']}",
        metric=name,
        relation=found["relation"],
        threshold=number / 100 if relative else number,
        relative=bool(relative),
    )


def _check_threshold(
    metric: Metric, number: float, *, relative: bool, text: str, said: str
) -> None:
    """Refuse what no value of a metric of the table can meet; `said` begins what was meant."""
    if not relative and number < 0:
        raise InputError(
            f'fail_if: {text!r}: that is never below 0; did you mean {said}{number:+g}%"?'
        )
    if not relative and not metric.ratio and not 0 <= number <= 1:
        meant = use_a_fraction(number, 1) or ", such as 0.98"
        raise InputError(f"fail_if: {text!r}: an accuracy is a fraction from 0 to 1{meant}")
    if relative and not metric.ratio and number > _MOST_POINTS:
        raise InputError(
            f"fail_if: {text!r}: that is a change of {number:g} points; did you mean "
            f'{said}{number / 100:g}"?'
        )
    if relative and metric.ratio and number <= -100:
        raise InputError(f"fail_if: {text!r}: nothing falls by more than 100 %")


def judge(comparison: Comparison, gates: Sequence[Gate]) -> list[Outcome]:
    """What each of `gates` says of each row of its metric, and of what B lacks.

    A relative gate tests the change against its own threshold, one-sided at 5 %: it fires where the
    change is surely beyond, passes where it is surely not, and is not settled between. Its p is
    adjusted by Holm (1979) over the gates. With fewer runs than such a test needs it cannot be
    judged.
    """
    asked = [(gate, row) for gate in gates for row in comparison.rows if row.metric == gate.metric]
    tested = [
        index
        for index, (gate, row) in enumerate(asked)
        if gate.relative and row.p is not None and row.definition.change_unit
    ]
    p_values = [_p_beyond(*asked[index], comparison.look_factor) for index in tested]
    adjusted = dict(zip(tested, holm(p_values), strict=True))
    return [
        _relative(gate, row, adjusted.get(index), comparison, family=len(tested))
        if gate.relative
        else _absolute(gate, row)
        for index, (gate, row) in enumerate(asked)
    ] + [_lacking(gate, *lacking) for gate in gates for lacking in comparison.missing.items()]


def gated(comparison: Comparison, outcomes: Sequence[Outcome]) -> Comparison:
    """`comparison` with what the gates say in its rows: one verdict on each."""
    found: dict[tuple[str, str, Names], list[Outcome]] = {}
    for o in outcomes:
        found.setdefault((o.gate.metric, o.name, o.names), []).append(o)
    rows = (_with_gates(r, found.get((r.metric, r.name, r.names), [])) for r in comparison.rows)
    return replace(comparison, rows=tuple(rows))


def _with_gates(row: Row, of_row: Sequence[Outcome]) -> Row:
    row = replace(row, gates=tuple((o.gate.text, o.state) for o in of_row))
    change = _change(row)
    surely = any(o.state == "fired" and o.gate.relative and not o.gate.beyond(0) for o in of_row)
    if not surely or not change or row.verdict not in {"no verdict", "no difference seen"}:
        return row
    return replace(row, verdict=row.definition.word(change), reason="by its gate", more_runs=None)


def _lacking(gate: Gate, names: Names, missing: Sequence[str]) -> Outcome:
    a, b = names
    why = f"{b} lacks what {a} has: run it, leave it out of {a}, or use --force"
    return Outcome(gate, ", ".join(missing), names, state="cannot be judged", why=why)


def _p_beyond(gate: Gate, row: Row, look_factor: int) -> float:
    """The one-sided chance of such a change if the true one were at the threshold.

    The machine's own share counts against it: it may have made the change larger.
    """
    if row.sample is None:
        return 1.0
    below = gate.relation.startswith("<")
    share = row.machine[0 if below else 1]
    moved = row.sample.moved((1 + gate.threshold) * (1 + share) - 1 if share else gate.threshold)
    sign, p = moved.direction(), moved.p_value()
    is_beyond = sign < 0 if below else sign > 0
    return min(1.0, look_factor * p / 2) if is_beyond else 1.0


def _p_within(gate: Gate, row: Row, look_factor: int) -> float:
    """The same of a change on the near side of it."""
    opposite = ">" if gate.relation.startswith("<") else "<"
    return _p_beyond(replace(gate, relation=opposite), row, look_factor)


def _change(row: Row) -> float | None:
    """The estimated change; endless where A reached the target and B did not."""
    if row.change is not None:
        return row.change.estimate
    if row.a.value is None:
        return None if row.b.value is None or row.sample is None else -1.0
    return math.inf if row.sample is not None and row.b.value is None else None


def _relative(
    gate: Gate, row: Row, p_adjusted: float | None, comparison: Comparison, *, family: int
) -> Outcome:
    sample, change = row.sample, _change(row)
    outcome = partial(Outcome, gate, row.name, row.names)
    if not row.definition.change_unit:
        return outcome("cannot be judged", f"{gate.metric} is not above 0 and has no change in %")
    if sample is None or p_adjusted is None or change is None:
        return outcome("cannot be judged", row.reason or "reached by neither side")
    factor = comparison.look_factor
    why = f"{change_text(row)}, n = {sample.n}"
    state: State = "not settled"
    level = 2 * ALPHA / (factor * family)  # two-sided there, one-sided here
    if p_adjusted < ALPHA:
        state = "fired"
    elif _p_within(gate, row, factor) < ALPHA:
        state = "passed"
    elif lacking := sample.lacking(level):
        why += f": too few for a test ({lacking} more {comparison.counted} on each side needed)"
        return outcome("cannot be judged", why, change)
    why += f", p = {p_adjusted:.2g}"
    if state == "not settled":
        against = sample.moved(gate.threshold).contradiction()
        more = _more(gate, sample, change, counted=comparison.counted)
        why += f"; against its threshold, {against}" if against else f"; {more}"
    return outcome(state, why, change, p_adjusted)


def _more(gate: Gate, sample: Sample, change: float, *, counted: str) -> str:
    """How many more runs would settle it, as far from its threshold as the change seems to be."""
    away = change - gate.threshold
    if sample.metric.ratio:
        away = (1 + change) / (1 + gate.threshold) - 1
    needed = sample.runs_needed(2 * ALPHA, change=away) if math.isfinite(away) and away else None
    if needed is None or needed > _MOST_RUNS:
        return "too near the threshold to tell"
    return f"about {max(1, needed - sample.n)} more {counted} on each side would settle it"


def _absolute(gate: Gate, row: Row) -> Outcome:
    metric, b = row.definition, row.names[1]
    outcome = partial(Outcome, gate, row.name, row.names)
    missed = row.b.n > 0 and metric.to_target and row.b.value is None
    value = math.inf if missed else row.b.value
    if row.b_problem or value is None:
        unknown = (
            f"no target that was evaluated in {b}" if metric.to_target else f"not measured in {b}"
        )
        return outcome("cannot be judged", row.b_problem or unknown)
    state: State = "fired" if gate.beyond(value) else "passed"
    why = f"{b} {value_text(row.b, metric)}"
    ends = [end for end in (row.b.above, row.b.at_most) if end is not None]
    if len({gate.beyond(end) for end in ends}) > 1:
        state, why = "not settled", f"{why}, but its evaluations are too far apart to tell"
    return outcome(state, why, value)
