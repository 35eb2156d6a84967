"""Why two sets of runs get no verdict, or one of them no figure that tells of all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mnistbench.analysis.differences import conditions
from mnistbench.analysis.metrics import Metric
from mnistbench.analysis.sides import Match
from mnistbench.analysis.stability import (
    DRIFT_BOUND,
    is_profiled,
    is_unstable,
    level_difference,
    ran_beside_others,
)
from mnistbench.schema.record import RunRecord

__all__ = ["machine_problem", "mostly_unstable", "not_alike", "problem_of_b", "refusal"]


def refusal(match: Match, metric: Metric, *, target_accuracy: float | None = None) -> str | None:
    """All that forbids a verdict on `metric`, if anything does."""
    why = [not_alike(match.a, match.b, metric, target_accuracy=target_accuracy)]
    why.append(None if metric.to_target else _survivors(match.a, match.b))
    why.append(machine_problem(match) if metric.timed else None)
    return "; ".join(filter(None, why)) or None


def problem_of_b(b: Sequence[RunRecord], metric: Metric) -> str | None:
    """What forbids to say anything of B alone by its median, if anything does."""
    lost = _profiled("B", b) or (None if metric.to_target else _lost("B", b))
    return lost or (_spoiled("B", b) if metric.timed else None)


def not_alike(
    a: Sequence[RunRecord],
    b: Sequence[RunRecord],
    metric: Metric,
    *,
    target_accuracy: float | None = None,
) -> str | None:
    """How `a` and `b` were not run alike, as `metric` needs it: more runs would not help."""
    if watched := _profiled("A", a) or _profiled("B", b):
        return watched
    differing = conditions(a, b, target_accuracy=target_accuracy)
    if differing:
        return f"different {', '.join(differing)}"
    return _other_evaluations(a, b) if metric.to_target else None


def machine_problem(match: Match) -> str | None:
    """Why the machine itself forbids to compare times, if it does.

    Other runs shared its cores on purpose, its speed moved during most runs of a side, or was
    another for B than for A and the runs were not taken in turn, which alone would be fair to both.
    """
    spoiled = _spoiled("A", match.a) or _spoiled("B", match.b)
    change = None if spoiled or match.pairs else level_difference(match.a, match.b)
    if change is None or abs(change) <= DRIFT_BOUND:
        return spoiled
    word = "faster" if change > 0 else "slower"
    return f"the machine itself was {100 * abs(change):.0f} % {word} during B than during A"


def mostly_unstable(side: str, *, unstable: int, of: int, what: str = "runs") -> str | None:
    """Why the times of one side mean nothing, if the machine's speed moved in most of them."""
    if 2 * unstable <= of:
        return None
    return f"the machine's own speed moved during {unstable} of {of} {what} of {side}"


def _spoiled(side: str, runs: Sequence[RunRecord]) -> str | None:
    beside = sum(map(ran_beside_others, runs))
    if beside:
        return f"{beside} of {len(runs)} runs of {side} were measured beside other runs"
    return mostly_unstable(side, unstable=sum(map(is_unstable, runs)), of=len(runs))


def _profiled(side: str, runs: Sequence[RunRecord]) -> str | None:
    """Why runs are in no comparison, where they were not left out of it before."""
    profiled = sum(map(is_profiled, runs))
    return f"{profiled} of {len(runs)} runs of {side} were profiled" if profiled else None


def _survivors(a: Sequence[RunRecord], b: Sequence[RunRecord]) -> str | None:
    """Why completed runs alone would be chosen ones: of one side a larger share was lost."""
    if _number_lost(a) * len(b) == _number_lost(b) * len(a):
        return None
    return ", ".join(filter(None, (_lost("A", a), _lost("B", b))))


def _lost(side: str, runs: Sequence[RunRecord]) -> str | None:
    lost = _number_lost(runs)
    return f"{lost} of {len(runs)} runs of {side} diverged or failed" if lost else None


def _number_lost(runs: Sequence[RunRecord]) -> int:
    """Runs that came to nothing by themselves: not those that someone stopped."""
    return sum(record.status in {"diverged", "failed"} for record in runs)


def _other_evaluations(a: Sequence[RunRecord], b: Sequence[RunRecord]) -> str | None:
    """Why times to a target have not the same grain, as far as both of two runs went."""
    rules = {_evaluated_up_to(record) for record in (*a, *b)}
    if len(rules) == 1 and None not in rules:
        return None  # other steps, but by one rule: the same share of those to the target apart
    grids = [_evaluated(record) for record in (*a, *b)]
    longest = max(grids, key=lambda steps: max(steps, default=0), default=set[int]())
    for steps in grids:
        end = max(steps, default=0)  # is evaluated whatever the grid
        if {x for x in steps if x < end} != {x for x in longest if x < end}:
            return "evaluated after different steps"
    return None


def _evaluated_up_to(record: RunRecord) -> tuple[Any, Any] | None:
    """Target and spacing of a run that was evaluated ever more often up to its target."""
    spacing = record.environment.get("eval_spacing")
    return (record.config.get("target_accuracy"), spacing) if spacing else None


def _evaluated(record: RunRecord) -> set[int]:
    split = record.config.get("eval_split")
    return {point.step for point in record.eval_points if point.split == split}
