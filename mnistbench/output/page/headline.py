"""The top of a page: what was run, and the answers that the intervals allow."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from mnistbench.analysis.comparability import said_beside
from mnistbench.analysis.differences import conditions
from mnistbench.analysis.free_metrics import free_metrics, metric_named
from mnistbench.analysis.metrics import METRICS, Asked, Metric
from mnistbench.analysis.number_text import NOT_MEASURED, goal
from mnistbench.analysis.pairing import as_one
from mnistbench.analysis.stability import spoiled, time_mark
from mnistbench.analysis.standing import Standing, standing
from mnistbench.output.number_format import level_text
from mnistbench.output.page.report_data import ReportRow, Subject, by_conditions
from mnistbench.schema.record import RunRecord

_NAMED = 3


def title(subject: Subject) -> str:
    """What was run, in a line."""
    rows, runs = len(subject.rows), len(subject.records)
    data = _known(record.dataset.name if record.dataset else None for record in subject.records)
    what = subject.rows[0].name if rows == 1 else f"{rows:,} configurations"
    where = "" if data == NOT_MEASURED else f" on {data}"
    return f"{what}{where}, {runs:,} run{'s' * (runs > 1)}"


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
    """The fastest row to each target and the most accurate, as comparisons tell them apart."""
    if len(subject.rows) == 1:
        return _alone(subject.rows[0], subject)
    said: list[str] = []
    for target, rows in subject.scored.items():
        alone = [row for row in rows if not spoiled(row.runs, to_target=True)]
        what, anew = f"Fastest to {goal(target)}", bool(subject.options.targets)
        said += _best(alone, "time_to_accuracy_s", target, what=what, scored_anew=anew)
    completed = [row for row in subject.timed if any(r.status == "completed" for r in row.runs)]
    split = "test" if all(METRICS["test_accuracy"].of(row.runs).n for row in completed) else "val"
    said += _best(completed, f"{split}_accuracy", None, what=f"Highest {split} accuracy")
    for name, metric in [*free_metrics([row.runs for row in completed]).items()][:1]:
        its = [row for row in completed if metric.of(row.runs).n]
        end = "Highest" if metric.higher_is_better else "Lowest"
        said += _best(its, name, None, what=f"{end} {metric.label}")
    return said


def _best(
    rows: Sequence[ReportRow],
    name: str,
    target: Asked,
    *,
    what: str,
    scored_anew: bool = False,
) -> list[str]:
    """The answer of each set of rows that may be compared in a metric, the largest sets first."""
    metric = metric_named(name, [run for row in rows for run in row.runs])
    needs = [need for need in metric.needs if not scored_anew or need != "target"]
    sets = by_conditions(rows, needs)
    if len(sets) == 1:
        return _verdict(sets[0], (name, metric), target, what=what)
    said = []
    for place, found in enumerate(sets[:_NAMED]):
        if len(found) > 1:
            other = sets[0 if place else 1][0]
            where = _condition(found[0], other, needs)
            which = f"{what} of the {len(found)} rows with {where}"
            said += _verdict(found, (name, metric), target, what=which)
    alone = len(rows) - sum(len(found) for found in sets[:_NAMED] if len(found) > 1)
    if alone:
        first, *others = (found[0].runs for found in sets)
        told = {need for its in others for need in conditions(its, first, needs)}
        differing = "; ".join(need for need in needs if need in told)
        said.append(f"{what}: {alone} of {len(rows)} rows not compared, by {differing}.")
    return said


def _condition(row: ReportRow, other: ReportRow, needs: Sequence[str]) -> str:
    """What sets `row` apart from `other`: ``global_batch_size 512``."""
    differing = conditions(row.runs, other.runs, needs)
    return ", ".join(f"{name} {text.split(' against ')[0]}" for name, text in differing.items())


def _alone(row: ReportRow, subject: Subject) -> list[str]:
    said = []
    for target in subject.targets(row):
        metric = METRICS["time_to_accuracy_s"]
        level = metric.of(row.runs, target)
        count = f"{level.reached} of {level.n} runs reached {goal(target)}"
        said.append(f"{_told(row, metric, target)}; {count}.")
    return said


def _verdict(
    rows: Sequence[ReportRow], named: tuple[str, Metric], target: Asked, *, what: str
) -> list[str]:
    """Which row is the best, if a comparison finds all others worse."""
    metric = named[1]
    found = standing([row.runs for row in rows], named[0], target)
    if found is None or not found.tested:
        return []
    best = rows[found.best]
    text = f"{what}: {_told(best, metric, target)}"
    if found.reason:
        others = "the other row" if found.tested == 1 else f"the {found.tested} others"
        return [f"{text}. There is no verdict on {others}: {found.reason}."]
    near, behind = [rows[place] for place in found.near], found.tested - len(found.near)
    if len(near) == 1:
        text += f", tied with {_told(near[0], metric, target)}"
    elif near:
        first = [row.name for row in near[:_NAMED]]
        more = [f"{len(near) - _NAMED} more"] if len(near) > _NAMED else []
        text += f", tied with {len(near)} others: {'; '.join([*first, *more])}"
    if not behind:
        return [f"{text}."]
    worse = metric.word(-1 if metric.higher_is_better else 1)
    matches = (as_one(best.runs, row.runs) for row in rows if row != best)
    beside = "; ".join(said_beside(match, metric) or "" for match in matches)
    caveats = {
        "not run in balanced turn": re.search("balanced|in turn", beside),
        "some do not tell all of their conditions": "not told of" in beside,
    }
    why = [text for text, holds in caveats.items() if holds]
    caveat = f" ({'; '.join(why)})" if why else ""
    return [f"{text}. {_others(found, len(rows))} {worse}{caveat}."]


def _others(found: Standing, rows: int) -> str:
    """Those that are behind the best and its equals: ``The other 3 are``."""
    behind = found.tested - len(found.near)
    are = "is" if behind == 1 else "are"
    if found.tested + 1 < rows:
        return f"{behind} of the {found.tested} next best {are}"
    if behind == 1:
        return "The other row is"
    return f"The other {behind} are" if found.near else f"All {behind} others are"


def _told(row: ReportRow, metric: Metric, target: Asked) -> str:
    """A row with its figure: ``simple-cnn at 0.61 s (0.58–0.64)``."""
    figure, space, spread = level_text(metric.of(row.runs, target), metric).partition(" (")
    if not any(map(str.isdigit, figure)):
        return f"{row.name} ({figure})"
    mark = time_mark(row.runs, to_target=metric.to_target) if metric.timed else ""
    return f"{row.name} at {figure}{metric.unit}{mark}{space}{spread}"


def _machine(record: RunRecord) -> str | None:
    environment = record.environment
    name, cores = environment.get("device_name"), environment.get("num_usable_cores")
    on_cpu = environment.get("device_type") == "cpu" and name and cores
    return f"{name}, {cores} core{'s' * (cores != 1)}" if on_cpu else name and str(name)


def _known(values: Iterable[str | None]) -> str:
    found = list(dict.fromkeys(str(value) for value in values if value))
    return "; ".join(found[:_NAMED]) + "; …" * (len(found) > _NAMED) if found else NOT_MEASURED
