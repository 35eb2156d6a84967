"""A comparison for a terminal, as Markdown, or as strict JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from mnistbench.analysis.comparison_text import change_text, label_text, needed_text, number_text
from mnistbench.analysis.gates import Outcome
from mnistbench.analysis.metrics import METRICS
from mnistbench.analysis.number_text import NOT_MEASURED
from mnistbench.analysis.rows import Comparison, Row
from mnistbench.output.number_format import counted_text
from mnistbench.output.screen import WIDE, Screen
from mnistbench.schema.escaping import printable
from mnistbench.schema.record import finite

__all__ = ["ComparisonFormat", "gate_line", "headlines", "render_comparison"]

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
        return _json(comparison, outcomes)
    named = len({row.name for row in comparison.rows}) > 1
    remarks = list(dict.fromkeys(text for row in comparison.rows for text in _remarks(row)))
    rows = [_cells(row, remarks, named=named) for row in comparison.rows]
    lines = [*headlines(comparison), *map(gate_line, outcomes)]
    notes = [f"[{number}] {text}" for number, text in enumerate(remarks, 1)]
    notes += [*_method(comparison), *comparison.notes]
    screen = screen.in_format(table_format)
    table = screen.table(rows, names=["compared"])
    return "\n\n".join([table, screen.lines(lines), screen.lines(notes)]).rstrip()


def headlines(comparison: Comparison) -> list[str]:
    """One sentence for each thing compared: its first metric, and any other with a verdict."""
    named: dict[str, list[Row]] = {}
    for row in comparison.rows:
        named.setdefault(row.name, []).append(row)
    lines = []
    for name, (first, *others) in named.items():
        told = [first, *(row for row in others if row.verdict in _DIFFERENT)]
        prefix = f"{name}: " if len(named) > 1 else ""
        lines.append(prefix + "; ".join(_sentence(row, comparison.counted) for row in told))
    return lines


def gate_line(outcome: Outcome) -> str:
    """What a gate says in one line."""
    return printable(f"gate {outcome.state}: {outcome.name}: {outcome.gate.text}: {outcome.why}")


_ESTIMATORS = {
    "mean": "means of speeds and times over runs",
    "median": "medians over {counted}",
    "survival median": "medians over seeds of times to the target (Turnbull)",
}
_DIFFERENT = frozenset({"faster", "slower", "higher", "lower"})


def _sentence(row: Row, counted: str) -> str:
    verdict = f"B is {row.verdict}" if row.verdict in _DIFFERENT else row.verdict
    why = f" ({'; '.join(_reasons(row))})" if _reasons(row) else ""
    return f"{verdict}{why}: {label_text(row)} {change_text(row)}, {number_text(row, counted)}"


def _reasons(row: Row) -> list[str]:
    """Why there is no verdict, or what has to be said beside one."""
    known = row.reason is not None and row.caveat is not None and "in turn" in row.reason
    return [text for text in (row.reason, None if known else row.caveat) if text]


def _remarks(row: Row) -> list[str]:
    """What forbids or qualifies the verdict on a row, and what its gates say."""
    return [*_reasons(row), *(f"gate {state} ({gate})" for gate, state in row.gates)]


def _cells(row: Row, remarks: Sequence[str], *, named: bool) -> dict[str, str]:
    """Column -> text; `remarks` are told by their numbers."""
    metric = METRICS[row.metric]
    p = NOT_MEASURED if row.p_adjusted is None else f"{row.p_adjusted:.3f}"
    marks = ",".join(str(remarks.index(text) + 1) for text in _remarks(row))
    counts = dict.fromkeys(str(level.n) for level in (row.a, row.b))
    return {
        **({"compared": row.name} if named else {}),
        "metric": label_text(row) + metric.unit,
        "A": counted_text(row.a, metric) if row.a.n else NOT_MEASURED,
        "B": counted_text(row.b, metric) if row.b.n else NOT_MEASURED,
        "n": " and ".join(counts),
        "B against A (95 % interval)": change_text(row, prefix=""),
        "p": "<0.001" if p == "0.000" else p,
        "verdict": row.verdict + f" [{marks}]" * bool(marks),
        "more needed": needed_text(row),
    }


def _method(comparison: Comparison) -> list[str]:
    """What the figures mean."""
    tested = sum(row.p is not None for row in comparison.rows)
    how = {METRICS[row.metric].estimator for row in comparison.rows if row.a.n or row.b.n}
    said = [text for name, text in _ESTIMATORS.items() if name in how]
    text = ", ".join(said).format(counted=comparison.counted)
    lines = [f"A and B are {text}"] if said else []
    if comparison.looked_at:
        lines.append(
            f"runs were added to settle {METRICS[comparison.looked_at].label}: for the repeated "
            f"tests every p is {comparison.look_factor} times that of one, intervals are widened "
            "alike, and only the other metrics are adjusted for each other (Holm)"
        )
    elif tested > 1:
        lines.append(
            f"p is adjusted for {tested} rows (Holm), intervals are not: the chance of any verdict "
            "in a table without a difference is at most 5 %"
        )
    return lines


def _json(comparison: Comparison, outcomes: Sequence[Outcome]) -> str:
    values = {
        "rows": [_row_values(row) for row in comparison.rows],
        "gates": [_gate_values(outcome) for outcome in outcomes],
        "headlines": headlines(comparison),
        "notes": [*_method(comparison), *comparison.notes],
        "counted": comparison.counted,
        "looked_at": comparison.looked_at,
        "look_factor": comparison.look_factor,
    }
    return json.dumps(values, indent=1, allow_nan=False)


def _row_values(row: Row) -> dict[str, Any]:
    change = row.change or (None, None, None)
    return {
        "name": row.name,
        "metric": row.metric,
        "target_accuracy": row.target_accuracy,
        "estimator": METRICS[row.metric].estimator,
        "spread": METRICS[row.metric].spread,
        "a": row.a._asdict(),
        "b": row.b._asdict(),
        "paired": row.sample is not None and row.sample.in_pairs,
        "relative": METRICS[row.metric].ratio,
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


def _gate_values(outcome: Outcome) -> dict[str, Any]:
    return {
        "gate": outcome.gate.text,
        "name": outcome.name,
        "state": outcome.state,
        "why": outcome.why,
        "value": None if outcome.value is None else finite(outcome.value),
        "p_adjusted": outcome.p_adjusted,
    }
