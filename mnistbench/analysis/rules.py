"""One stored set of runs scored by the rules of several benchmarks, side by side.

Each rule has its clock, its number of runs and its way of counting a run that missed the target; no
two of them give the same seconds for the same training. The rules, with their sources:

- *mnistbench*: this project's design, section 3.
- *MLPerf Training*: mlcommons/training_policies, ``training_rules.adoc``. Initialisation and
  compilation are not timed, evaluation is. The fastest and the slowest run are dropped and the rest
  averaged; one failed run may be the slowest, a second one voids the result. It asks for 3 or 10
  runs by benchmark; here any number from 3 is scored.
- *AlgoPerf*: mlcommons/algorithmic-efficiency, ``docs/DOCUMENTATION.md``. Step time alone counts, a
  miss is infinite, and of repeated studies the median is taken: here, of the seeds. (Their clock
  includes just-in-time compilation within the first steps; it is in no train clock here.)
- *DAWNBench*: stanford-futuredata/dawn-bench-entries, README and issues 9 and 21. One run, from the
  start of the program, with loading and building; evaluation and checkpoints need not be counted.
- *airbench, modded-nanogpt*: KellerJordan/cifar10-airbench and KellerJordan/modded-nanogpt, README.
  Steps are fixed beforehand and the target binds on the mean over runs, in modded-nanogpt at
  p < 0.01 (which is asked for here); the time is that of the whole run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import NamedTuple

from mnistbench.analysis.repeats import one_per_seed
from mnistbench.analysis.scoring import end_s, point_at_target, score_target
from mnistbench.schema.record import EvalPoint, RunRecord
from mnistbench.stats.intervals import trimmed_mean
from mnistbench.stats.rank_tests import beats_target

__all__ = ["RULES", "RuleScore", "score_rules"]

_SIGNIFICANCE = 0.01
_MLPERF_MIN_RUNS = 3
_NO_CLOCKS = "the record is older than this clock"


class RuleScore(NamedTuple):
    """What one rule says of a group: seconds on its clock, or ``None`` and why in the remark.

    `n` is how many runs the rule looks at.
    """

    rule: str
    clock: str
    aggregate: str
    time_s: float | None
    n: int
    remark: str


def score_rules(group: Sequence[RunRecord], target: float) -> list[RuleScore]:
    """The score of `group`, seeds of one run, to `target` accuracy under each rule.

    Args:
        group: one run or more; of each seed the newest counts.
        target: accuracy on the runs' eval split, a fraction in (0, 1].
    """
    runs = one_per_seed(group)
    return [rule(runs, target) for rule in RULES]


def _mnistbench(group: Sequence[RunRecord], target: float) -> RuleScore:
    score = score_target(group, target).time_s
    remark = f"{score.reached} of {score.n} reached"
    if score.median is None:
        remark += ": the median did not"
    elif score.low is not None and score.high is not None:
        remark += f", 95 % interval {score.low:.2f}–{score.high:.2f}"
    elif score.low is not None:
        remark += f", 95 % interval from {score.low:.2f}"
    return RuleScore("mnistbench", "train", "Turnbull's median", score.median, score.n, remark)


def _mlperf(group: Sequence[RunRecord], target: float) -> RuleScore:
    points = [_point(record, target) for record in group]
    times = [_sum(p.train_s, p.eval_s) if p else math.inf for p in points]
    missed, n = points.count(None), len(group)
    time_s, remark = None, f"drops 1 miss of {n} as the slowest" if missed else ""
    if n < _MLPERF_MIN_RUNS:
        remark = f"needs {_MLPERF_MIN_RUNS} runs"
    elif missed > 1:
        remark = f"void: {missed} of {n} missed"
    elif None in times:
        remark = _NO_CLOCKS
    else:
        time_s = trimmed_mean([time for time in times if time is not None], drop_each_side=1)
    return RuleScore("MLPerf Training", "train + eval", "mean without ends", time_s, n, remark)


def _algoperf(group: Sequence[RunRecord], target: float) -> RuleScore:
    points = [_point(record, target) for record in group]
    time_s = median(point.train_s if point else math.inf for point in points)
    missed = points.count(None)
    remark = f"{missed} of {len(group)} missed" if missed else ""
    return RuleScore(
        "AlgoPerf",
        "train",
        "median",
        time_s if math.isfinite(time_s) else None,
        len(group),
        remark if math.isfinite(time_s) else f"infinite: {remark}",
    )


def _dawnbench(group: Sequence[RunRecord], target: float) -> RuleScore:
    first = min(group, key=lambda record: record.seed)
    point = _point(first, target)
    time_s, remark = None, f"seed {first.seed}"
    if point is None:
        remark += " missed"
    elif point.wall_s is None or point.eval_s is None:
        remark = _NO_CLOCKS
    else:
        time_s = point.wall_s - point.eval_s
        if not first.phases_s.get("import"):
            remark += ", without the start of the program"
    return RuleScore("DAWNBench", "wall less eval", "the first run", time_s, 1, remark)


def _fixed_steps(group: Sequence[RunRecord], target: float) -> RuleScore:
    time_s, n = None, len(group)
    unfinished = sum(record.status != "completed" for record in group)
    ends = [_last(record) for record in group]
    stopped = any(record.config.get("stop_at_target") for record in group)
    if unfinished:
        remark = f"void: {unfinished} of {n} did not complete"
    elif stopped or len({record.num_steps for record in group}) > 1:
        remark = "void: the steps were not fixed"
    elif n < 2 or None in ends:
        remark = "needs 2 runs" if n < 2 else "void: a run has no last evaluation"
    else:
        test = beats_target([point.accuracy for point in ends if point], target)
        remark = f"mean {100 * test.mean:.2f} %, p = {test.p_value:.2g}"
        if test.p_value < _SIGNIFICANCE:
            time_s = fmean(end_s(record) for record in group)
        else:
            remark = f"not shown: {remark}"
    return RuleScore("airbench, modded-nanogpt", "train, all steps", "mean", time_s, n, remark)


RULES: tuple[Callable[[Sequence[RunRecord], float], RuleScore], ...] = (
    _mnistbench,
    _mlperf,
    _algoperf,
    _dawnbench,
    _fixed_steps,
)
"""The rules, in the order in which a table shows them."""


def _point(record: RunRecord, target: float) -> EvalPoint | None:
    return point_at_target(record.eval_points, target, split=str(record.config.get("eval_split")))


def _last(record: RunRecord) -> EvalPoint | None:
    split = record.config.get("eval_split")
    return next((p for p in reversed(record.eval_points) if p.split == split), None)


def _sum(train_s: float, eval_s: float | None) -> float | None:
    return None if eval_s is None else train_s + eval_s
