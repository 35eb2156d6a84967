"""The top of a page: what was run, and the answers that the intervals allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mnistbench.analysis.differences import conditions
from mnistbench.analysis.grouping import summarise
from mnistbench.analysis.number_text import NOT_MEASURED, goal, percent, seconds
from mnistbench.analysis.scoring import score_target
from mnistbench.analysis.stability import ran_beside_others, time_mark
from mnistbench.output.page.report_data import Row, Subject
from mnistbench.schema.record import RunRecord

__all__ = ["answers", "facts", "title"]

_NAMED = 3


class _Figure(NamedTuple):
    """What a row is ranked by, lower is better, with its interval and its text."""

    name: str
    value: float
    low: float | None
    high: float | None
    text: str


def title(subject: Subject) -> str:
    """What was run, in a line."""
    rows, runs = len(subject.rows), len(subject.records)
    data = _known(record.dataset.name if record.dataset else None for record in subject.records)
    what = subject.rows[0].name if rows == 1 else f"{rows} configurations"
    return f"{what} on {data}, {runs} run{'s' * (runs > 1)}"


def facts(subject: Subject) -> dict[str, str]:
    """A few figures on what was run: name -> text."""
    records = subject.records
    days = sorted({record.created_at[:10] for record in records})
    statuses = Counter(record.status for record in records)
    return {
        "configurations": f"{len(subject.rows):,}",
        "runs": f"{len(records):,}",
        "completed": f"{statuses['completed']:,}",
        "machine": _known(_machine(record) for record in records),
        "run on": days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}",
    }


def answers(subject: Subject) -> list[str]:
    """The fastest row to each target and the most accurate, as far as intervals tell them apart."""
    if len(subject.rows) == 1:
        return _alone(subject.rows[0], subject)
    sets = subject.comparable
    if len(sets) < 2:
        return _best(sets[0], subject) if sets else []
    differing = ", ".join(conditions(sets[0][0].runs, sets[1][0].runs))
    said = [f"Rows differ in {differing}, and are compared only where they do not."]
    for rows, other in zip(sets[:_NAMED], [sets[1], *[sets[0]] * len(sets)], strict=False):
        if len(rows) > 1:
            where = f" of the {len(rows)} rows with {_condition(rows[0], other[0])}"
            said += _best(rows, subject, where=where)
    return said


def _best(rows: Sequence[Row], subject: Subject, *, where: str = "") -> list[str]:
    """The answers of `rows`, which are under the same conditions, those that `where` tells."""
    found = []
    if not any(ran_beside_others(run) for row in rows for run in row.runs):
        names = {row.name for row in rows}
        for target, scored in subject.scored.items():
            same = [row for row in scored if row.name in names]
            found.append(_fastest(same, target, where=where))
    return [line for line in (*found, _most_accurate(rows, where=where)) if line]


def _condition(row: Row, other: Row) -> str:
    """What sets `row` apart from `other`: ``global_batch_size 512``."""
    differing = conditions(row.runs, other.runs)
    return ", ".join(f"{name} {text.split(' against ')[0]}" for name, text in differing.items())


def _alone(row: Row, subject: Subject) -> list[str]:
    said = []
    for target in subject.targets(row):
        time = score_target(row.runs, target).time_s
        reached = "not reached"
        if time.median is not None:
            reached = f"median {seconds(time.median)} s{_interval(time.low, time.high)}"
        said.append(f"To {goal(target)}: {reached}, {time.reached} of {time.n} runs got there.")
    return said


def _fastest(rows: Sequence[Row], target: float, *, where: str) -> str | None:
    figures = []
    for row in rows:
        time = score_target(row.runs, target).time_s
        if time.median is not None:
            text = f"{seconds(time.median)} s{_interval(time.low, time.high)}{time_mark(row.runs)}"
            figures.append(_Figure(row.name, time.median, time.low, time.high, text))
    what = f"Fastest to {goal(target)}{where}"
    return _verdict(figures, what, lowest="median", num_rows=len(rows))


def _most_accurate(rows: Sequence[Row], *, where: str) -> str | None:
    rows = [row for row in rows if any(run.status == "completed" for run in row.runs)]
    split = "test" if all(_accuracy(row.runs, "test") for row in rows) else "val"
    figures = []
    for row in rows:
        found = _accuracy(row.runs, split)
        if found is not None:
            mean, half = found["mean"], found["half_width"]
            spread = "" if half is None else f" ± {percent(half)}"
            ends = (None, None) if half is None else (-mean - half, -mean + half)
            figures.append(_Figure(row.name, -mean, *ends, f"{percent(mean)}{spread} %"))
    what = f"Highest {split} accuracy{where}"
    return _verdict(figures, what, lowest="mean", num_rows=len(rows))


def _accuracy(runs: Sequence[RunRecord], split: str) -> dict[str, float] | None:
    found: dict[str, float] | None = summarise(runs)[f"{split}_accuracy"]
    return found


def _verdict(figures: Sequence[_Figure], what: str, *, lowest: str, num_rows: int) -> str | None:
    """Which figure is the best, if its interval lies apart from all others'."""
    if not figures:
        return None
    best = min(figures, key=lambda figure: figure.value)
    if best.high is None:
        return f"{what}: {best.name}, {best.text}, of too few runs to be sure."
    near = sum(f is not best and (f.low is None or f.low <= best.high) for f in figures)
    if not near:
        return f"{what}: {best.name}, {best.text}; no other interval reaches it."
    apart, several = num_rows - near - 1, "s" * (near > 1)
    return (
        f"{what}: no clear winner. {best.name} has the best {lowest}, {best.text}, which "
        f"{near} other interval{several} reach{'es' * (near == 1)}"
        + (f"; {apart} row{'s are' if apart > 1 else ' is'} behind." if apart else ".")
    )


def _interval(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return f" ({NOT_MEASURED})"
    return f" ({seconds(low or 0.0)}–{'∞' if high is None else seconds(high)})"


def _machine(record: RunRecord) -> str | None:
    environment = record.environment
    name, cores = environment.get("device_name"), environment.get("num_usable_cores")
    on_cpu = environment.get("device_type") == "cpu" and cores
    return f"{name}, {cores} cores" if on_cpu else name and str(name)


def _known(values: Iterable[str | None]) -> str:
    found = list(dict.fromkeys(str(value) for value in values if value))
    return "; ".join(found[:_NAMED]) + "; …" * (len(found) > _NAMED) if found else NOT_MEASURED
