"""The choice of a grid, or of each of several, as text: what is best, and how sure that is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mnistbench.analysis.best_config import Candidate, Selection, select
from mnistbench.analysis.differences import code_of
from mnistbench.analysis.grouping import identify
from mnistbench.analysis.metrics import METRICS, Metric, target_of
from mnistbench.analysis.number_text import NOT_MEASURED, goal
from mnistbench.analysis.rows import shift_text
from mnistbench.analysis.stability import mark_notes, time_mark
from mnistbench.output.export import identities, level_columns, target_columns
from mnistbench.output.fitted_table import unexpected
from mnistbench.output.number_format import counted_text, level_text
from mnistbench.output.row_names import name_columns
from mnistbench.output.screen import WIDE, Screen
from mnistbench.output.table_notes import MEDIAN_NOTE
from mnistbench.output.tables import TableFormat, data_text
from mnistbench.schema.escaping import printable
from mnistbench.schema.record import RunRecord

_SURE = 0.95
_MOST_NAMED = 3


def render_selection(
    records: Sequence[RunRecord],
    *,
    metric: str,
    table_format: TableFormat,
    screen: Screen = WIDE,
) -> str:
    """The configurations among `records` ranked by `metric`, and the choice of the first of them.

    Each counts by the estimator of its `Metric`. How sure the choice is: the probability that the
    winner is the best or, where a target was not reached, the share of redraws in which it stays so
    (see `mnistbench.stats.resampling`).

    Raises:
        InputError: as `mnistbench.analysis.best_config.select`.
    """
    chosen = select(records, metric)
    notes = _notes(chosen)
    if table_format == "csv":
        return data_text(_export(chosen), table_format)
    if table_format == "json":
        choice = _choice(chosen) | {"rows": _export(chosen), "notes": notes}
        return json.dumps(choice, indent=1, allow_nan=False)
    names = name_columns([c.runs for c in chosen.candidates], taken=("n", "status"))
    told = zip(chosen.candidates, names, strict=True)
    rows = unexpected([name | _cells(candidate, chosen) for candidate, name in told])
    screen = screen.in_format(table_format)
    table = screen.table(rows, names=names[0])
    return "\n\n".join([table, screen.lines(_headlines(chosen)), screen.lines(notes)])


class Tuned(NamedTuple):
    """What was chosen for one contender of a comparison.

    Attributes:
        name: of the contender.
        chosen: among its configurations.
        values: what was searched, by name, of each of the candidates.
        file: where the best was written.
        notes: what has to be said of it.
        at_end: the best learning rate is the first or the last that was tried.
    """

    name: str
    chosen: Selection
    values: Sequence[Mapping[str, str]]
    file: str
    notes: Sequence[str]
    at_end: bool


def render_tuned(
    found: Sequence[Tuned],
    *,
    by: str,
    command: str,
    table_format: TableFormat,
    screen: Screen = WIDE,
) -> str:
    """The best configuration of each contender, a value of `by`, and the `command` to go on with.

    A reader may have to copy that, so it is in one line however narrow the screen is.
    """
    if table_format in {"csv", "json"}:
        rows = [_tuned_export(one, by) for one in found]
        if table_format == "csv":
            return data_text(rows, table_format)
        return json.dumps({"by": by, "rows": rows, "next": command}, indent=1, allow_nan=False)
    screen = screen.in_format(table_format)
    table = screen.table([_tuned_cells(one, by) for one in found], names=[by])
    told = [f"{one.name}: {note}" for one in found for note in (_tuned_choice(one), *one.notes)]
    notes = dict.fromkeys(note for one in found for note in _notes(one.chosen))
    command = printable(command)
    fenced = f"```sh\n{command}\n```" if screen.is_markdown else f"  {command}"
    parts = [table, screen.lines(told), screen.lines([*notes]), f"next:{screen.end}{fenced}"]
    return "\n\n".join(parts)


def _tuned_cells(tuned: Tuned, by: str) -> dict[str, str]:
    """A row of the table: column -> text."""
    figures = _cells(tuned.chosen.winner, tuned.chosen)
    del figures["status"]
    return {by: tuned.name, **tuned.values[0], **figures, "tried": str(len(tuned.values))}


def _tuned_choice(tuned: Tuned) -> str:
    """The best, how sure that is, and the one behind it."""
    told = (", ".join(f"{name} {text}" for name, text in its.items()) for its in tuned.values)
    chosen, (best, *others), behind = tuned.chosen, told, ""
    if chosen.change:
        change = shift_text(chosen.change, chosen.definition)
        behind = f"; runner-up: {others[0]}, against the best {change}"
    return f"{best} ({_confidence_text(chosen)}){behind}"


def _tuned_export(tuned: Tuned, by: str) -> dict[str, Any]:
    """A row of plain values."""
    best, choice = _export(tuned.chosen)[0], _choice(tuned.chosen)
    told = ("confidence", "why_unsure", "relative", "change", "low", "high")
    return (
        {by: tuned.name, "file": tuned.file, **tuned.values[0], "metric": tuned.chosen.metric}
        | {name: value for name, value in best.items() if name.startswith("score")}
        | {name: choice[name] for name in told}
        | {"num_tries": len(tuned.values), "seeds": best["seeds"], "at_end": tuned.at_end}
    )


def _choice(chosen: Selection) -> dict[str, Any]:
    """What JSON says of the choice as a whole."""
    change = chosen.change or (None, None, None)
    return {
        "metric": chosen.metric,
        **target_columns(target_of(chosen.winner.runs[0])),
        "winner": chosen.winner.name,
        "as_good": [candidate.name for candidate in chosen.as_good],
        "confidence": None if chosen.redrawn else chosen.winner.share,
        "why_unsure": chosen.why_unsure,
        "runner_up": chosen.candidates[1].name if chosen.change else None,
        "relative": chosen.definition.ratio,
        **dict(zip(("change", "low", "high"), change, strict=True)),
        "draws": chosen.draws,
        "paired": chosen.paired,
        **level_columns("winner_test_accuracy", METRICS["test_accuracy"].of(chosen.winner.runs)),
    }


def _export(chosen: Selection) -> list[dict[str, Any]]:
    """A row of plain values for each candidate (`mnistbench.output.export`)."""
    metric = chosen.definition
    uncensored = {} if metric.to_target else {"score_reached": None}
    rows = identities([candidate.runs for candidate in chosen.candidates])
    return [
        row
        | {"candidate": candidate.name, "metric": chosen.metric}
        | level_columns("score", metric.level(candidate.readings), to_target=True)
        | uncensored
        | {"score": candidate.score, "share_best": candidate.share, "lost": candidate.lost}
        for row, candidate in zip(rows, chosen.candidates, strict=True)
    ]


def _cells(candidate: Candidate, chosen: Selection) -> dict[str, str]:
    """A row of the table: column -> text."""
    share = candidate.share
    lost = f", {candidate.lost} lost" if candidate.lost else ""
    return {
        _label(chosen): _score_text(candidate, chosen.definition),
        "best in %": NOT_MEASURED if share is None else _share_text(share).removesuffix(" %"),
        "n": f"{len(candidate.readings)}{lost}",
        "status": identify(candidate.runs)["status"],
    }


def _label(chosen: Selection) -> str:
    """What was measured, with its unit."""
    metric, target = chosen.definition, target_of(chosen.winner.runs[0])
    to = f" to {goal(target)}" if metric.to_target and target else ""
    return f"{metric.label}{to}{metric.unit}"


def _score_text(candidate: Candidate, metric: Metric) -> str:
    level = metric.level(candidate.readings)
    if not level.n:
        return NOT_MEASURED
    mark = time_mark(candidate.runs, to_target=metric.to_target)
    return counted_text(level, metric) + mark * metric.timed


def _headlines(chosen: Selection) -> list[str]:
    """The winner, the one behind it, and what the winner reached on test."""
    winner, test = chosen.winner, METRICS["test_accuracy"].of(chosen.winner.runs)
    first = f"best by {_label(chosen)}: {winner.name}"
    if chosen.as_good:
        names = [candidate.name for candidate in (winner, *chosen.as_good)]
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        first = f"equally good by {_label(chosen)}: {'; '.join(names[:_MOST_NAMED])}{more}"
    lines = [f"{first} ({_confidence_text(chosen)})"]
    if chosen.change and not chosen.as_good:
        behind = chosen.candidates[1].name
        change = shift_text(chosen.change, chosen.definition)
        lines.append(f"runner-up: {behind}, against the best {change}")
    if test.n:
        text = level_text(test, METRICS["test_accuracy"])
        lines.append(f"test accuracy of {winner.name}, which had no part in this: {text} %")
    return lines


def _confidence_text(chosen: Selection) -> str:
    if chosen.winner.share is None:
        return chosen.why_unsure or NOT_MEASURED
    if len(chosen.as_good) == len(chosen.candidates) - 1:
        return "nothing sets them apart"
    share = sum(candidate.share or 0.0 for candidate in (chosen.winner, *chosen.as_good))
    unsure = "" if share >= _SURE else "; more seeds would make it surer"
    one = "one of them is " if chosen.as_good else ""
    return (
        f"{one}best in {_share_text(share)} of {'redraws' if chosen.redrawn else 'draws'}{unsure}"
    )


def _notes(chosen: Selection) -> list[str]:
    """What the figures mean, and what was left out."""
    groups = [candidate.runs for candidate in chosen.candidates]
    metric, lines = chosen.definition, [*chosen.left_out]
    if chosen.winner.share is not None:
        what = (
            "the probability that it is the best, where chance makes some look better than they are"
        )
        if chosen.redrawn:
            what = "how often it stays the best when its seeds are drawn again: no probability"
        shared = "; what runs of one seed share is left out" if chosen.paired else ""
        lines.append(f"best in: {what} ({chosen.draws:,} draws{shared})")
    several = any(len(group) > 1 for group in groups)
    if several and metric.to_target:
        lines.append(f"{metric.label} is the median over all seeds {MEDIAN_NOTE}")
    elif several and metric.estimator == "median":
        ends = "smallest–largest" if metric.spread == "range" else metric.spread
        lines.append(f"{metric.label} is the median over {metric.independent}s ({ends})")
    elif several:
        lines.append("± is half the width of the 95 % interval of the mean over n runs")
    if any(candidate.lost for candidate in chosen.candidates):
        lines.append(
            "what lost a run (diverged or failed) comes last: an estimate of the rest is biased"
        )
    commits = dict.fromkeys(code_of(record) for group in groups for record in group)
    if len(commits) > 1:
        lines.append(f"several commits: {', '.join(commits)}")
    return lines + (mark_notes(groups, to_target=metric.to_target) if metric.timed else [])


def _share_text(share: float) -> str:
    """A share of draws as a whole percentage, never quite none or all of them."""
    return "<1 %" if share < 0.01 else ">99 %" if share > 0.99 else f"{100 * share:.0f} %"
