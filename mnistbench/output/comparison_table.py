"""A comparison for a terminal, as Markdown, or as strict JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from mnistbench.analysis.gates import Outcome
from mnistbench.analysis.number_text import NOT_MEASURED, goal
from mnistbench.analysis.rows import (
    Comparison,
    Row,
    change_text,
    label_text,
    needed_text,
    number_text,
    verdict_text,
)
from mnistbench.analysis.samples import A_AND_B, Names
from mnistbench.output.number_format import counted_text
from mnistbench.output.row_names import split_names
from mnistbench.output.screen import WIDE, Screen
from mnistbench.schema.escaping import printable
from mnistbench.schema.record import finite

ComparisonFormat = Literal["table", "markdown", "json"]


def render_comparison(
    comparison: Comparison,
    outcomes: Sequence[Outcome],
    *,
    table_format: ComparisonFormat,
    screen: Screen = WIDE,
) -> str:
    """The rows, a headline for each thing compared, what the gates say, and the notes."""
    if table_format == "json":
        return json.dumps(comparison_values(comparison, outcomes), indent=1, allow_nan=False)
    remarks = list(dict.fromkeys(text for row in comparison.rows for text in _remarks(row)))
    lines = [*headlines(comparison), *map(gate_line, outcomes)]
    notes = [f"[{number}] {text}" for number, text in enumerate(remarks, 1)]
    notes += [*_method(comparison), *comparison.notes]
    screen = screen.in_format(table_format)
    table = screen.table(_table_rows(comparison, remarks), names=["compared", "side"])
    text = [screen.text(comparison.about), table, screen.lines(lines), screen.lines(notes)]
    return "\n\n".join(filter(None, text)).rstrip()


def headlines(comparison: Comparison) -> list[str]:
    """A sentence for each thing and side: its first metric, and any other with a verdict.

    Of several sides, those without any verdict share one.
    """
    compared: dict[tuple[str, Names], list[Row]] = {}
    for row in comparison.rows:
        compared.setdefault((row.name, row.names), []).append(row)
    several = len({name for name, _ in compared}) > 1
    lines: list[str] = []
    alike: dict[tuple[str, str, str], list[Row]] = {}
    for (name, names), (first, *others) in compared.items():
        told = [first, *(row for row in others if row.verdict in _DIFFERENT)]
        if names != A_AND_B and told[-1].verdict not in _DIFFERENT:
            alike.setdefault((name, first.verdict, names[0]), []).append(first)
            continue
        called = _called(names, comparison)
        text = "; ".join(_sentence(row, called, comparison.counted) for row in told)
        lines.append(f"{name}: {text}" if several else text)
    for (name, verdict, a), rows in alike.items():
        text = _sentence(rows[0], rows[0].names, comparison.counted)
        if len(rows) > 1:
            sides = ", ".join(row.names[1] for row in rows)
            text = f"{verdict} between {a} and any of {sides}: {label_text(rows[0])}"
        lines.append(f"{name}: {text}" if several else text)
    return lines


def _called(names: Names, comparison: Comparison) -> Names:
    """A and B with their own names, where these are known and short."""
    known = comparison.sides
    if names != A_AND_B or known in {(), A_AND_B} or max(map(len, known)) > _SHORT:
        return names
    return f"A ({known[0]})", f"B ({known[1]})"


def gate_line(outcome: Outcome) -> str:
    """What a gate says in one line."""
    a, b = outcome.names
    what = outcome.name if outcome.names == A_AND_B else f"{outcome.name}: {b} against {a}"
    return printable(f"gate {outcome.state}: {what}: {outcome.gate.text}: {outcome.why}")


_ESTIMATORS = {
    "mean": "means of speeds and times over runs",
    "survival median": "medians of times to the target over seeds (Turnbull)",
    "median": "medians over {counted}",
}
_DIFFERENT = frozenset({"faster", "slower", "higher", "lower"})
_SHORT = 30
"""Letters of a name that a sentence has room for."""


def _sentence(row: Row, names: Names, counted: str) -> str:
    a, b = names
    verdict, what = f"{row.verdict} between {a} and {b}", f"{label_text(row)} "
    if row.verdict in {"higher", "lower"}:
        verdict, what = f"{b} has a {verdict_text(row)} {what}than {a}", ""
    elif row.verdict in _DIFFERENT:
        verdict = f"{b} is {row.verdict} than {a}"
    why = f" ({'; '.join(_reasons(row))})" if _reasons(row) else ""
    return f"{verdict}: {what}{change_text(row)}, {number_text(row, counted)}{why}"


def _reasons(row: Row) -> list[str]:
    """Why there is no verdict, or what has to be said beside one."""
    known = row.reason is not None and row.caveat is not None and "in turn" in row.reason
    return [text for text in (row.reason, None if known else row.caveat) if text]


def _remarks(row: Row) -> list[str]:
    """What forbids or qualifies the verdict on a row, and what its gates say."""
    return [*_reasons(row), *(f"gate {state} ({gate})" for gate, state in row.gates)]


def _table_rows(comparison: Comparison, remarks: Sequence[str]) -> list[dict[str, str]]:
    """A row for each metric of A and B; of more sides one for each, below one for the baseline."""
    names = list(dict.fromkeys(row.name for row in comparison.rows))
    called = dict(zip(names, split_names(names)[1], strict=True)) if names else {}
    found: list[dict[str, str]] = []
    above = None
    for row in comparison.rows:
        metric = row.definition
        a, b = (counted_text(x, metric) if x.n else NOT_MEASURED for x in (row.a, row.b))
        which = {"compared": called[row.name]} if len(names) > 1 else {}
        which |= {"metric": label_text(row) + metric.unit}
        if row.names == A_AND_B:
            counts = dict.fromkeys((str(row.a.n), str(row.b.n)))
            figures = {"A": a, "B": b, "n": " and ".join(counts)}
            found.append(which | figures | _against(row, remarks, title="B against A"))
            continue
        against = {"side": row.names[1], "figure": b, "n": str(row.b.n)}
        against |= _against(row, remarks, title="change")
        if above != (above := (row.name, row.metric)):
            baseline = {"side": row.names[0], "figure": a, "n": str(row.a.n)}
            baseline |= {"verdict": "baseline"}
            found.append(which | dict.fromkeys(against, NOT_MEASURED) | baseline)
        found.append(dict.fromkeys(which, "") | against)
    return found


def _against(row: Row, remarks: Sequence[str], *, title: str) -> dict[str, str]:
    """How B is against A; `remarks` are told by their numbers."""
    p = NOT_MEASURED if row.p_adjusted is None else f"{row.p_adjusted:.3f}"
    marks = ",".join(map(str, sorted(remarks.index(text) + 1 for text in _remarks(row))))
    return {
        f"{title} (95 % interval)": change_text(row, prefix=""),
        "p": "<0.001" if p == "0.000" else p,
        "verdict": verdict_text(row) + f" [{marks}]" * bool(marks),
        "more needed": needed_text(row),
    }


def _method(comparison: Comparison) -> list[str]:
    """What the figures mean."""
    tested = sum(row.p is not None for row in comparison.rows)
    how = {row.definition.estimator for row in comparison.rows if row.a.n or row.b.n}
    said = [text for name, text in _ESTIMATORS.items() if name in how]
    text = ", ".join(said).format(counted=comparison.counted)
    text += " of the rest" * (len(said) > 1 and "median" in how)
    several = any(row.names != A_AND_B for row in comparison.rows)
    lines = [f"{'figures' if several else 'A and B'} are {text}"] if said else []
    if comparison.looked_at:
        label = next(
            (r.definition.label for r in comparison.rows if r.metric == comparison.looked_at),
            comparison.looked_at,
        )
        over = f"the rows of {label} and, apart, the others" if several else "the other metrics"
        lines.append(
            f"runs were added to settle {label}: for the repeated tests every p is "
            f"{comparison.look_factor} times that of one, intervals are widened alike, and p is "
            f"adjusted over {over} (Holm)"
        )
    elif tested > 1:
        lines.append(
            f"p is adjusted for {tested} rows (Holm), intervals are not: the chance of any verdict "
            "in a table without a difference is at most 5 %"
        )
    return lines


def comparison_values(comparison: Comparison, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """All of it as plain values: what JSON holds."""
    return {
        "rows": [_row_values(row, comparison.sides) for row in comparison.rows],
        "gates": [_gate_values(outcome, comparison.sides) for outcome in outcomes],
        "headlines": headlines(comparison),
        "notes": [*filter(None, [comparison.about]), *_method(comparison), *comparison.notes],
        "counted": comparison.counted,
        "looked_at": comparison.looked_at,
        "look_factor": comparison.look_factor,
    }


def _row_values(row: Row, sides: Sequence[str]) -> dict[str, Any]:
    change = row.change or (None, None, None)
    return {
        "name": row.name,
        **_names(row.names, sides),
        "metric": row.metric,
        "target_accuracy": row.target and row.target.accuracy,
        "target": row.target and goal(row.target),
        "estimator": row.definition.estimator,
        "spread": row.definition.spread,
        "a": row.a._asdict(),
        "b": row.b._asdict(),
        "paired": row.sample is not None and row.sample.in_pairs,
        "relative": row.definition.ratio,
        **dict(zip(("change", "low", "high"), change, strict=True)),
        "p": row.p,
        "p_adjusted": row.p_adjusted,
        "verdict": row.verdict,
        "reason": row.reason,
        "caveat": row.caveat,
        "gates": [{"gate": gate, "state": state} for gate, state in row.gates],
        "more_runs": row.more_runs,
        "spread_known": row.spread_known,
    }


def _names(names: Names, sides: Sequence[str]) -> dict[str, str]:
    """What A and B are called, by their own names where these are known."""
    a, b = sides if names == A_AND_B and sides else names
    return {"a_name": a, "b_name": b}


def _gate_values(outcome: Outcome, sides: Sequence[str]) -> dict[str, Any]:
    return {
        "gate": outcome.gate.text,
        "name": outcome.name,
        **_names(outcome.names, sides),
        "state": outcome.state,
        "why": outcome.why,
        "value": None if outcome.value is None else finite(outcome.value),
        "p_adjusted": outcome.p_adjusted,
    }
