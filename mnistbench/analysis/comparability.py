"""Why two sets of runs get no verdict on a metric, or one of them no figure that tells of all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from mnistbench.analysis.differences import conditions, untold
from mnistbench.analysis.machine_drift import MachineChange, machine_change
from mnistbench.analysis.metrics import Asked, Metric
from mnistbench.analysis.repeats import num_lost, one_per_seed
from mnistbench.analysis.samples import Match, Sample
from mnistbench.analysis.stability import (
    code_change,
    is_profiled,
    is_unstable,
    own_clock,
    spoiled,
)
from mnistbench.schema.provenance import sources_text
from mnistbench.schema.record import RunRecord
from mnistbench.stats.sequential_test import ALPHA


def refusal(match: Match, sample: Sample, *, asked: Asked = None) -> str | None:
    """All that forbids a verdict on the metric of `sample`, if anything does."""
    metric = sample.metric
    why = [not_alike(match, metric, asked=asked)]
    why.append(None if metric.to_target else _survivors(match))
    why.append(machine_problem(match, sample) if metric.timed else None)
    return "; ".join(filter(None, why)) or None


def problem_of_b(match: Match, metric: Metric) -> str | None:
    """What forbids to say anything of B alone by its estimate, if anything does."""
    name, b = match.names[1], match.b
    lost = _excluded(name, b) or (None if metric.to_target else _lost(name, b))
    return lost or (_spoiled(name, b, metric=metric) if metric.timed else None)


def not_alike(match: Match, metric: Metric, *, asked: Asked = None) -> str | None:
    """How A and B were not run alike, as `metric` needs it: more runs would not help."""
    if watched := _first(_excluded, match):
        return watched
    differing = conditions(match.a, match.b, metric.needs, asked=asked)
    return f"different {', '.join(differing)}" if differing else None


def machine_problem(match: Match, sample: Sample) -> str | None:
    """Why the machine itself forbids to compare times, if it does.

    Other runs shared its cores on purpose, a run stood still, its speed moved during most runs of a
    side or, where the runs were not taken in turn, which alone is fair to both, its own change from
    A to B may be all of the difference. Times to a target that are steps times seconds per step
    alone depend on none of this.
    """
    return _first(partial(_spoiled, metric=sample.metric), match) or _explained(match, sample)


def said_beside(match: Match, metric: Metric) -> str | None:
    """What has to be said beside any verdict on `metric`, whatever the values."""
    told = [_order(match, metric), *untold(match.a, match.b, metric.needs, match.names)]
    return "; ".join(filter(None, told)) or None


def _order(match: Match, metric: Metric) -> str | None:
    """How the order of runs that were not taken in turn may have made times differ."""
    if match.pairs or not metric.timed:
        return None
    if _of_products(match, metric):
        began = {run.alone_at for run in (*match.a, *match.b)}
        return "seconds per step were not measured in turn" if len(began) > 1 else None
    if match.order in {"A first", "B first"}:
        return f"not balanced: {match.names[match.order == 'B first']} first each time"
    known = machine_change(match.a, match.b) is not None
    return "not run in turn" + ("" if known else ", and no probe tells how the machine changed")


def _of_products(match: Match, metric: Metric) -> bool:
    """Whether times to a target of `match` are steps times seconds per step alone."""
    return metric.to_target and any(run.window_step_s for run in (*match.a, *match.b))


def mostly_unstable(side: str, *, unstable: int, of: int, what: str = "runs") -> str | None:
    """Why the times of one side mean nothing, if the machine's speed moved in most of them."""
    if 2 * unstable <= of:
        return None
    return f"the machine's own speed moved during {unstable} of {of} {what} of {side}"


def _explained(match: Match, sample: Sample) -> str | None:
    """That the machine's change from A to B, with its noise, may be all of the difference."""
    machine = _change(match, sample.metric)
    if machine is None:
        return None
    ends = " to ".join(dict.fromkeys(f"{100 * math.expm1(end):+.0f}" for end in machine[:2]))
    sides = " to ".join(match.names)
    said = f"not run in turn, and the machine's own speed changed by {ends} % from {sides}"
    if machine.moved:
        return said
    if sample.problem() or sample.p_value() >= ALPHA:
        return None
    left = [sample.moved(share) for share in machine_share(match, sample.metric)]
    same = all(rest.test_sign() * sample.test_sign() > 0 for rest in left)
    beyond = same and all(rest.p_value() < ALPHA for rest in left)
    return None if beyond else f"{said}, which may be all of the difference"


def machine_share(match: Match, metric: Metric) -> tuple[float, float]:
    """What the machine alone may have changed of B's figures, from least to most, as fractions.

    Nothing where runs were taken in turn, of what is not timed on their own clocks, and where no
    probe tells.
    """
    machine = _change(match, metric)
    if machine is None:
        return 0.0, 0.0
    low, high = machine[:2] if metric.higher_is_better else (-machine.high, -machine.low)
    return math.expm1(low), math.expm1(high)


def _change(match: Match, metric: Metric) -> MachineChange | None:
    if match.pairs or not metric.timed or _of_products(match, metric):
        return None
    return machine_change(match.a, match.b)


def _first(problem: Callable[[str, Sequence[RunRecord]], str | None], match: Match) -> str | None:
    """What `problem` says of A, or else of B."""
    return next(filter(None, map(problem, match.names, (match.a, match.b))), None)


def _spoiled(side: str, runs: Sequence[RunRecord], *, metric: Metric) -> str | None:
    timed = own_clock(runs, to_target=metric.to_target)
    unstable = mostly_unstable(side, unstable=sum(map(is_unstable, timed)), of=len(runs))
    return spoiled(runs, of=f" of {side}", to_target=metric.to_target) or unstable


def _excluded(side: str, runs: Sequence[RunRecord]) -> str | None:
    """Why runs are in no comparison, where they were not left out of it before."""
    profiled, mixed = (sum(map(bool, map(which, runs))) for which in (is_profiled, code_change))
    if profiled:
        return f"{profiled} of {len(runs)} runs of {side} were profiled"
    if mixed:
        return f"{mixed} of {len(runs)} runs of {side} went on under other code"
    codes = list(dict.fromkeys(filter(None, (sources_text(run.code) for run in runs))))
    return f"the runs of {side} are of other code each: {'; '.join(codes)}" if codes[1:] else None


def _survivors(match: Match) -> str | None:
    """Why completed runs alone would be chosen ones: of one side a larger share was lost.

    What failed and was made again is not.
    """
    a, b = match.a, match.b
    if num_lost(a) * len(one_per_seed(b)) == num_lost(b) * len(one_per_seed(a)):
        return None
    return ", ".join(filter(None, map(_lost, match.names, (a, b))))


def _lost(side: str, runs: Sequence[RunRecord]) -> str | None:
    lost, seeds = num_lost(runs), len(one_per_seed(runs))
    return f"{lost} of {seeds} runs of {side} diverged or failed" if lost else None
