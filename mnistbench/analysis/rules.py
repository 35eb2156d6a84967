"""One stored set of runs scored by the rules of several benchmarks, side by side.

Each rule has its clock, its number of runs and its way of counting a run that missed the target; no
two of them give the same seconds for the same training. What each asks, and with which of a
record's clocks it is read here, stands with its function; `SOURCES` has version and section. Where
a record cannot tell what a rule asks there is no time, and the remark says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import NamedTuple

from mnistbench.analysis.metrics import score_target
from mnistbench.analysis.repeats import by_seed, one_per_seed, seed_text
from mnistbench.analysis.scoring import Asked, end_s, target_of
from mnistbench.schema.record import EvalPoint, Phase, RunRecord, Target
from mnistbench.schema.target import point_at_target
from mnistbench.stats.intervals import trimmed_mean
from mnistbench.stats.rank_tests import beats_target

_SIGNIFICANCE = 0.01
_MLPERF_MIN_RUNS = 3
_MLPERF_RUNS = 5
_AIRBENCH_RUNS = 200
_NO_CLOCKS = "the record is older than this clock"
_BEFORE_TRAINING: tuple[Phase, ...] = ("import", "startup", "data", "build", "compile")

SOURCES: Mapping[str, str] = {
    "MLPerf Training": "mlcommons/training_policies, training_rules.adoc, version 1.0 "
    "(2021-03-25), sections 11 and 12",
    "AlgoPerf": "mlcommons/algorithmic-efficiency, docs/DOCUMENTATION.md, version 0.6.0, sections "
    "Submissions and Self-tuning ruleset; clock of submission_runner.py",
    "DAWNBench": "stanford-futuredata/dawn-bench-entries, README, version 1.0, section CIFAR10 "
    "Training; issues 9, 12 and 21",
    "airbench": "KellerJordan/cifar10-airbench, airbench94_muon.py at 096d14d, main",
    "modded-nanogpt": "KellerJordan/modded-nanogpt, README at 0006a9c, section Submission rules",
}
"""Where each rule of others stands: repository, file, version and section."""


class RuleScore(NamedTuple):
    """What one rule says of a group: seconds on its clock, or ``None`` and why in the remark.

    `n` is how many runs the rule looks at, `source` where it stands.
    """

    rule: str
    clock: str
    aggregate: str
    time_s: float | None
    n: int
    remark: str
    source: str = ""


def score_rules(group: Sequence[RunRecord], asked: Asked) -> list[RuleScore]:
    """The score of `group`, seeds of one run, to a target under each rule; none without a target.

    Args:
        group: one run or more; of each seed the newest counts.
        asked: as of `target_of`.
    """
    runs = one_per_seed(group)
    target = next(filter(None, (target_of(run, asked) for run in runs)), None)
    if target is None:
        return []
    scores = [rule(runs, target) for rule in RULES]
    return [score._replace(source=SOURCES.get(score.rule, "")) for score in scores]


def rule_notes(scores: Iterable[RuleScore]) -> list[str]:
    """For each rule of others in `scores` a line on where it stands."""
    told = dict.fromkeys((score.rule, score.source) for score in scores if score.source)
    return [f"{rule}: {source}" for rule, source in told]


def _mnistbench(group: Sequence[RunRecord], target: Target) -> RuleScore:
    score = score_target(group, target).time_s
    remark = f"{score.reached} of {score.n} reached"
    if score.value is None:
        remark += ": the median did not"
    elif score.low is not None and score.high is not None:
        remark += f", 95 % interval {score.low:.2f}–{score.high:.2f}"
    elif score.low is not None:
        remark += f", 95 % interval from {score.low:.2f}"
    time_s = score.value
    if score.above == 0 and score.at_most:  # half were there at their first evaluation
        time_s, remark = score.at_most, f"{remark}, at most that long"
    return RuleScore("mnistbench", "train", "Turnbull's median", time_s, score.n, remark)


def _mlperf(group: Sequence[RunRecord], target: Target) -> RuleScore:
    """MLPerf Training.

    The clock starts before any part of the system touches the data, is never paused, and stops once
    the target is known to be reached. So all of the wall clock counts but the import and start of
    the program: data, build, compilation, training, evaluation, checkpoints, and what is in no
    phase. (Up to 20 minutes of building the model may come before the clock; our runs build it
    after the data are loaded, so it counts.) The fastest and the slowest run are dropped and the
    rest averaged; one miss may be the slowest, a second one voids the result. Image classification
    asks for 5 runs; from 3 on there is something left to average.

    Not told by a record: whether the disk cache was flushed (section 6.1), and how long a run that
    was interrupted stood still.
    """
    points = [point_at_target(record.eval_points, target) for record in group]
    times = [_since_data_s(r, p) if p else math.inf for r, p in zip(group, points, strict=True)]
    missed, n, time_s = points.count(None), len(group), None
    if n < _MLPERF_MIN_RUNS:
        remark = f"needs {_MLPERF_MIN_RUNS} runs"
    elif missed > 1:
        remark = f"void: {missed} of {n} missed"
    elif any(record.interruptions for record in group):
        remark = "void: the clock stood still where a run was interrupted"
    elif None in times:
        remark = _NO_CLOCKS
    else:
        time_s = trimmed_mean([time for time in times if time is not None], drop_each_side=1)
        remark = _mlperf_remark(group, missed)
    return RuleScore(
        "MLPerf Training", "wall, from the data on", "mean without ends", time_s, n, remark
    )


def _since_data_s(record: RunRecord, point: EvalPoint) -> float | None:
    """Wall seconds from before the data were touched to the end of the evaluation `point`."""
    if point.wall_s is None:
        return None
    return point.wall_s - sum(record.phases_s.get(name, 0.0) for name in ("import", "startup"))


def _mlperf_remark(group: Sequence[RunRecord], missed: int) -> str:
    n = len(group)
    told = [f"drops 1 miss of {n} as the slowest"] if missed else []
    ours = [record for record in group if not record.is_foreign]  # others do not tell it apart
    loaded = sum(not record.phases_s.get("data") for record in ours)
    told += [f"{loaded} of {n} had their data from an earlier seed"] if loaded else []
    told += [f"it asks for {_MLPERF_RUNS} runs"] if n < _MLPERF_RUNS else []
    return "; ".join(told)


def _algoperf(group: Sequence[RunRecord], target: Target) -> RuleScore:
    """AlgoPerf, self-tuning ruleset.

    The target is on the validation set; runs that were read on the test set have no score. The
    clock starts right before the first step, with data and model ready, and is paused for
    evaluation, logging and checkpoints. What the first steps compile is on it; our runs do that
    before, in the phase ``compile``, which is added (a forward and backward pass on blank data is
    in it). A miss is infinite; of repeated runs, five, the median is taken: here, of the seeds.
    """
    n, split = len(group), target.split
    score = RuleScore("AlgoPerf", "compile + train", "median", None, n, "")
    if split != "val":
        return score._replace(remark=f"its target is on validation; read on {split}")
    found = [(record, point_at_target(record.eval_points, target)) for record in group]
    times = [p.train_s + r.phases_s.get("compile", 0.0) if p else math.inf for r, p in found]
    missed = times.count(math.inf)
    remark = f"{missed} of {n} missed" if missed else ""
    time_s = median(times)
    if not math.isfinite(time_s):
        return score._replace(remark=f"infinite: {remark}")
    return score._replace(time_s=time_s, remark=remark)


def _dawnbench(group: Sequence[RunRecord], target: Target) -> RuleScore:
    """DAWNBench.

    One run, from the start of the program: loading the data and building the model count;
    evaluation and checkpoints need not. Here it is the run of the lowest seed. A record has only
    the sum of its checkpoints, not when each was saved: of a run with any, the phases up to
    training and the train clock are added up, and what is in no phase is left out.
    """
    first = min(group, key=by_seed)
    point = point_at_target(first.eval_points, target)
    told = [seed_text(first)]
    time_s = None
    if point is None:
        told[0] += " missed"
    else:
        saving = first.phases_s.get("checkpoint", 0.0) + first.phases_s.get("profile", 0.0)
        if saving or point.wall_s is None or point.eval_s is None:
            time_s = point.train_s + sum(first.phases_s.get(name, 0.0) for name in _BEFORE_TRAINING)
            told.append("without what is in no phase")
        else:
            time_s = point.wall_s - point.eval_s
        if not first.phases_s.get("import"):
            told.append("without the start of the program")
        if target.split != "test":
            told.append(f"read on {target.split}, theirs on test")
    return RuleScore("DAWNBench", "start + train", "the first run", time_s, 1, ", ".join(told))


def _airbench(group: Sequence[RunRecord], target: Target) -> RuleScore:
    """KellerJordan's airbench.

    The steps are fixed beforehand, and the mean accuracy on the test set at their end has to be at
    the target: theirs of 200 runs, without a test. The clock starts with the data on the device
    and all compiled, is paused for the evaluation of each epoch, and the last evaluation is on it.
    (Theirs looks at six views of each image; ours, whose seconds are taken, at one.)
    """
    n, void = len(group), _not_fixed(group)
    score = RuleScore("airbench", "train + last eval", "mean", None, n, void)
    if void:
        return score
    ends = [_last(record, "test") for record in group]
    values = _values(ends, target)
    if len(values) < n:
        return score._replace(remark="void: a run has no last evaluation on the test set")
    remark = f"{_mean_text(values, target)} of {n}, theirs of {_AIRBENCH_RUNS}"
    costs = [
        _eval_cost_s(record, point) for record, point in zip(group, ends, strict=True) if point
    ]
    if _sign(target) * (fmean(values) - target.value) < 0:
        return score._replace(remark=f"missed: {remark}")
    if None in costs:
        return score._replace(remark=_NO_CLOCKS)
    time_s = fmean(map(end_s, group)) + fmean(cost for cost in costs if cost is not None)
    return score._replace(time_s=time_s, remark=remark)


def _modded_nanogpt(group: Sequence[RunRecord], target: Target) -> RuleScore:
    """KellerJordan's modded-nanogpt.

    The steps are fixed beforehand, and enough runs have to show that the mean on the validation set
    is at the target, at p < 0.01 in a one-sided t-test (theirs is of a loss). The clock is paused
    for validation; kernels are warmed up before it starts.
    """
    n, void = len(group), _not_fixed(group)
    score = RuleScore("modded-nanogpt", "train, all steps", "mean", None, n, void)
    if void:
        return score
    split = target.split
    values = _values([_last(record, split) for record in group], target)
    if n < 2 or len(values) < n:
        return score._replace(
            remark="needs 2 runs" if n < 2 else "void: a run has no last evaluation"
        )
    sign = _sign(target)
    test = beats_target([sign * value for value in values], sign * target.value)
    remark = f"{_mean_text(values, target)}, p = {test.p_value:.2g}"
    remark += "" if split == "val" else f", read on {split}, theirs on validation"
    if test.p_value >= _SIGNIFICANCE:
        return score._replace(remark=f"not shown: {remark}")
    return score._replace(time_s=fmean(map(end_s, group)), remark=remark)


RULES: tuple[Callable[[Sequence[RunRecord], Target], RuleScore], ...] = (
    _mnistbench,
    _mlperf,
    _algoperf,
    _dawnbench,
    _airbench,
    _modded_nanogpt,
)
"""The rules, in the order in which a table shows them."""


def _sign(target: Target) -> int:
    return 1 if target.higher_is_better else -1


def _values(points: Iterable[EvalPoint | None], target: Target) -> list[float]:
    """What is known of the target's metric at `points`."""
    found = (point.value_of(target.metric) for point in points if point)
    return [value for value in found if value is not None]


def _mean_text(values: Sequence[float], target: Target) -> str:
    if target.metric == "accuracy":
        return f"mean {100 * fmean(values):.2f} %"
    return f"mean {target.metric} {fmean(values):.4g}"


def _not_fixed(group: Sequence[RunRecord]) -> str:
    """Why a rule of fixed steps has no score for `group`; empty where it has."""
    unfinished = sum(record.status != "completed" for record in group)
    if unfinished:
        return f"void: {unfinished} of {len(group)} did not complete"
    stopped = any(record.own_config.get("stop_at_target") for record in group)
    uneven = len({record.num_steps for record in group}) > 1
    return "void: the steps were not fixed" if stopped or uneven else ""


def _last(record: RunRecord, split: str) -> EvalPoint | None:
    return next((p for p in reversed(record.eval_points) if p.split == split), None)


def _eval_cost_s(record: RunRecord, point: EvalPoint) -> float | None:
    """Seconds of the evaluation `point` alone: clocks of evaluation add up over a run."""
    at = record.eval_points.index(point)
    before = record.eval_points[at - 1].eval_s if at else 0.0
    return None if point.eval_s is None or before is None else point.eval_s - before
